"""Reranking, groups and neighbours: what is done with the hits of a search, the same for every backend."""

import numpy as np
import pytest

import stores
from brickwork.core.errors import ConfigError, DataError
from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.index.encoding import Query
from brickwork.index.index import open_index
from brickwork.index.neighbours import neighbours
from brickwork.index.reranking import Reranker, by_length
from brickwork.index.types import Contents


class Longest(Reranker):
    """Stands in for a cross-encoder: the longer a document, the higher its score."""

    def __init__(self):
        self.asked = []

    def scores(self, pairs):
        self.asked.append(pairs)
        return np.array([len(text) for _, text in pairs], dtype=np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from word_vectors import WordVectors

    rng = np.random.default_rng(0)
    vocabulary = [f"word{i}" for i in range(40)]
    documents = [
        Document(
            id=f"file{name}.md#{number}",
            title=f"Part {number}" if number % 2 else "",
            text=" ".join(rng.choice(vocabulary, size=rng.integers(4, 12))),
            source=f"file{name}.md",
            meta={"shelf": name % 3, **({"kind": "odd"} if name % 2 else {})},
        )
        for name in range(12)
        for number in range(15)
    ]
    folder = tmp_path_factory.mktemp("refinement") / "index"
    build_index(WordVectors(), documents, folder).close()
    return folder


@pytest.fixture
def index(folder, model):
    with open_index(folder, model) as index:
        yield index


QUERY = "word1 word2 word3"


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_a_reranker_orders_the_best_hits_and_keeps_the_first_scores(index, mode):
    first = index.search(QUERY, 20, mode=mode)[0]
    reranker = Longest()
    answer = index.answer(QUERY, 5, mode=mode, rerank=reranker, rerank_top=20)
    texts = [f"{hit.title}\n{hit.text}" if hit.title else hit.text for hit in first]
    assert reranker.asked == [[(QUERY, text) for text in texts]]
    order = sorted(range(20), key=lambda row: -len(texts[row]))[:5]
    assert [hit.id for hit in answer.hits[0]] == [first[row].id for row in order]
    for hit, row in zip(answer.hits[0], order):
        assert (hit.score, hit.first_score) == (len(texts[row]), first[row].score)
        assert (hit.dense, hit.lexical) == (first[row].dense, first[row].lexical)
    assert answer.reranked == 20
    assert 0 < answer.rerank_milliseconds < answer.milliseconds
    assert index.answer(QUERY, 5, rerank=Longest()).reranked == 50
    assert index.answer(QUERY, 5).reranked == 0
    assert "first_score" not in first[0].values()
    assert answer.hits[0][0].values()["first_score"] == answer.hits[0][0].first_score


def test_several_queries_are_reranked_each_by_itself(index):
    both = index.search([QUERY, "word9 word8"], 4, rerank=Longest(), rerank_top=10)
    assert both == [
        index.search(query, 4, rerank=Longest(), rerank_top=10)[0] for query in (QUERY, "word9 word8")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rerank_top": 20}, "rerank_top has an effect only with rerank"),
        ({"rerank": 3}, "rerank is a int; give a Reranker, a folder or a hub id"),
        ({"rerank": Longest(), "rerank_top": 4}, "rerank_top=4 is less than top=10"),
        ({"rerank": Longest(), "rerank_top": 0}, "rerank_top=0: give at least 1"),
        (
            {"rerank": Longest(), "rerank_top": 40, "shortlist": 30},
            "rerank_top=40 is more than the 30 documents",
        ),
        (
            {"rerank": Longest(), "rerank_top": 40, "funnel": [(2, 30)]},
            "rerank_top=40 is more than the 30 documents",
        ),
        (
            {"group_by": "shop"},
            "group_by 'shop': no hit has this field; there are kind, shelf, source, title",
        ),
        ({"group_by": " "}, "group_by is empty"),
        ({"neighbours": -1}, "neighbours=-1: give at least 0"),
    ],
)
def test_what_has_no_effect_or_cannot_be_is_refused(index, options, message):
    with pytest.raises(ConfigError, match=message):
        index.search(QUERY, **options)


def test_a_reranker_reads_no_images(index):
    with pytest.raises(ConfigError, match="a reranker reads texts, and a query has an image"):
        index.search(Query("at night", np.zeros((4, 4, 3), np.uint8)), rerank=Longest())


def test_a_shortlist_bounds_what_is_reranked_by_default(index):
    assert index.answer(QUERY, 5, shortlist=30, rerank=Longest()).reranked == 30


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_groups_are_the_files_in_the_order_of_their_best_passages(index, mode):
    every = index.search(QUERY, 100, mode=mode)[0]
    files = list(dict.fromkeys(hit.source for hit in every))
    groups = index.search(QUERY, 4, mode=mode, group_by="source")[0]
    assert [hit.source for hit in groups] == files[:4]
    for group in groups:
        members = [hit for hit in every if hit.source == group.source]
        assert [group.id, *(hit.id for hit in group.others)] == [hit.id for hit in members]
        assert [group.score, *(hit.score for hit in group.others)] == [hit.score for hit in members]
        assert len(group.values()["others"]) == len(group.others)
    assert every[0].others is None
    assert "others" not in every[0].values()


def test_more_is_looked_at_until_there_are_enough_groups(folder, model):
    documents = [
        Document(id=f"{name}.md#{n}", title="", text=f"word1 word2 {n}", source=f"{name}.md")
        for name, count in (("long", 300), ("b", 2), ("c", 2))
        for n in range(count)
    ]
    with build_index(model, documents, folder.parent / "uneven", lexical=False) as index:
        assert {hit.source for hit in index.search("word1 word2", 3, group_by="source")[0]} >= {
            "b.md",
            "c.md",
        }
        answer = index.answer("word1 word2", 3, group_by="source", shortlist=100)
        assert len(answer.hits[0]) < 3
        assert "the 100 best passages are of only" in answer.notes[0]


def test_hits_are_grouped_by_metadata_too_and_those_without_stand_alone(index):
    assert len(index.search(QUERY, 10, group_by="shelf")[0]) == 3
    hits = index.search(QUERY, 30, group_by="kind")[0]
    assert sum(hit.meta.get("kind") == "odd" for hit in hits) == 1
    assert all(not hit.others for hit in hits if "kind" not in hit.meta)


def test_reranked_hits_are_grouped_by_their_new_scores(index):
    answer = index.answer(QUERY, 3, rerank=Longest(), rerank_top=30, group_by="source")
    flat = index.search(QUERY, 30, rerank=Longest(), rerank_top=30)[0]
    assert [hit.source for hit in answer.hits[0]] == list(dict.fromkeys(hit.source for hit in flat))[:3]
    few = index.answer(QUERY, 5, rerank=Longest(), rerank_top=5, group_by="shelf")
    assert "groups by shelf; a larger rerank_top looks at more" in few.notes[-1]


def test_a_hit_comes_with_the_passages_around_it(index):
    hits = index.search(QUERY, 40, neighbours=2)[0]
    assert {hit.id.partition("#")[2] for hit in hits} >= {"0", "14"}
    for hit in hits:
        name, _, number = hit.id.partition("#")
        wanted = [f"{name}#{n}" for n in range(int(number) - 2, int(number) + 3) if 0 <= n < 15]
        assert [*(d.id for d in hit.before), hit.id, *(d.id for d in hit.after)] == wanted
        assert hit.values()["before"] == [{"id": d.id, "title": d.title, "text": d.text} for d in hit.before]
    assert index.search(QUERY)[0][0].before is None
    (hit,) = index.search(QUERY, 1, neighbours=10**12)[0]  # more than there are: the whole file
    assert len(hit.before) + 1 + len(hit.after) == 15
    assert index.neighbours("file3.md#14") == ((index.get("file3.md#13")[0],), ())
    with pytest.raises(DataError, match=r"the id 'file3.md#15'"):
        index.neighbours("file3.md#15")


@pytest.mark.parametrize(
    ("ids", "name", "before", "after"),
    [
        (["p-098", "p-099", "p-100"], "p-099", ["p-098"], ["p-100"]),
        (["p-99", "p-100", "p-101"], "p-100", ["p-99"], ["p-101"]),
        (["0", "1", "3"], "1", ["0"], []),  # a gap ends the text
        (["a", "b"], "a", [], []),
        (["²", "2"], "²", [], []),
    ],
)
def test_neighbours_follow_the_numbers_of_the_ids(ids, name, before, after):
    backend = stores.NumpyBackend(Contents(model="none", dims=(2,), layers=(1,), depths=(1,)))
    backend.rows = {one: (Document(id=one, title="", text="t", source="s"), {}) for one in ids}
    ((left, right),) = neighbours(backend, [(name, "s")], 1)
    assert ([d.id for d in left], [d.id for d in right]) == (before, after)
    assert neighbours(backend, [(name, "other")], 1) == [((), ())]
    assert neighbours(backend, [(name, "")], 1) == [((), ())]


def test_pairs_of_a_batch_are_about_equally_long():
    lengths = np.random.default_rng(0).integers(5, 500, 200)
    batches = by_length(lengths, 4096)
    assert sorted(np.concatenate(batches).tolist()) == list(range(200))
    padded = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert padded <= 1.1 * lengths.sum()  # unsorted: 1.9
    assert all(len(rows) * lengths[rows].max() <= 4096 for rows in batches)
    assert [len(rows) for rows in by_length(np.array([9000, 9000]), 4096)] == [1, 1]
