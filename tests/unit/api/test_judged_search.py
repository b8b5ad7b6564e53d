"""A search measured by the user's own queries and judgements: the numbers, what stands beside them, and the kept weight."""

import json

import numpy as np
import pytest
import pytrec_eval

import brickwork
from brickwork.api.hybrid import learn_and_keep
from brickwork.api.judged import measure_judged, opened
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.data.generators.toy_text import toy_pairs
from brickwork.data.readers.judgements import Judged, judge, read_qrels, read_queries
from brickwork.representation.export_sentence_transformers import export_sentence_transformers

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* texts are longer than:brickwork.core.errors.BrickworkWarning"
)
TREC = {"ndcg@10": "ndcg_cut_10", "recall@100": "recall_100", "mrr@10": "recip_rank"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """``published``, a small model; ``run``, which a training at a large rate has spoilt; documents, queries, judgements."""
    folder = tmp_path_factory.mktemp("judged")
    small = ["model.dims=[8,32]", "train.batch_size=16", "data.source=toy", "data.limit=200"]
    run = brickwork.override(brickwork.recipe("matryoshka-2d", "smoke"), [*small, "train.steps=20"])
    start = brickwork.train(run, folder / "first", measure=False).representation
    export_sentence_transformers(start, folder / "published")
    worse = [
        f"model.encoder.backbone={folder / 'published'}",
        "model.encoder.max_tokens=16",
        "train.learning_rate=1",
    ]
    run = brickwork.override(brickwork.recipe("matryoshka-2d", "small"), [*small, *worse, "train.steps=3"])
    brickwork.train(run, folder / "run", measure=False)
    pairs = toy_pairs(60, 0)
    (folder / "docs.jsonl").write_text(
        "".join(json.dumps({"id": f"d{n}", "text": text}) + "\n" for n, (_, text) in enumerate(pairs))
    )
    (folder / "queries.tsv").write_text("".join(f"q{n}\t{text}\n" for n, (text, _) in enumerate(pairs[:40])))
    # Also graded: the next document is relevant as well, a little.
    (folder / "qrels.txt").write_text(
        "".join(f"q{n} 0 d{n} 3\nq{n} 0 d{n + 1} 1\nq{n} 0 d{n + 2} 0\n" for n in range(39))
    )
    brickwork.build_index(folder / "run", folder / "docs.jsonl", folder / "index", layers=[1, 3], kind="flat")
    return folder


def judged_files(place):
    return {"queries": place / "queries.tsv", "qrels": place / "qrels.txt"}


@pytest.fixture(scope="module")
def measured(place):
    with pytest.warns(
        BrickworkWarning, match="this training made your search worse: dense: nDCG@10 0.*worse than"
    ):
        return brickwork.evaluate(place / "index", report=place / "report.html", **judged_files(place))


def by_library(index, queries, qrels, **options):
    """Means of the library that TREC measures with."""
    hits = index.search(list(queries.values()), 100, **options)
    found = {
        name: {hit.id: float(len(row) - rank) for rank, hit in enumerate(row)}
        for name, row in zip(queries, hits)
    }
    measures = {"ndcg_cut.10", "recall.100"}
    scores = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(found)
    top = {name: dict(list(row.items())[:10]) for name, row in found.items()}
    first = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(top)
    return {
        metric: np.mean(
            [(first if metric == "mrr@10" else scores)[name][trec] for name in queries if name in qrels]
        )
        for metric, trec in TREC.items()
    }


def test_every_way_to_search_has_the_measures_of_the_library(place, measured):
    queries, qrels = read_queries(place / "queries.tsv"), read_qrels(place / "qrels.txt")
    index = brickwork.open_index(place / "index")
    ours = [row for row in measured["rows"] if row["search"] == "this model"]
    sizes = [(depth, dim) for depth in (3, 1) for dim in (32, 8)]
    assert [(r["mode"], r["layers"], r["dim"]) for r in ours] == [
        (m, *s) for m in ("hybrid", "dense") for s in sizes
    ]
    for row in ours:
        expected = by_library(index, queries, qrels, mode=row["mode"], dim=row["dim"], layers=row["layers"])
        assert {metric: row[metric] for metric in TREC} == pytest.approx(expected, abs=1e-6)
        assert row["vector_bytes"] == 4 * row["dim"]
    (words,) = [row for row in measured["rows"] if row["search"] == "BM25"]
    assert {m: words[m] for m in TREC} == pytest.approx(
        by_library(index, queries, qrels, mode="lexical"), abs=1e-6
    )
    assert (measured["queries"], measured["queries_left_out"], measured["documents"]) == (39, 1, 60)


def test_the_published_model_stands_beside_it_as_published(place, measured):
    queries, qrels = read_queries(place / "queries.tsv"), read_qrels(place / "qrels.txt")
    index = brickwork.build_index(place / "published", place / "docs.jsonl", place / "theirs", kind="flat")
    theirs = {(r["mode"], r["dim"]): r for r in measured["rows"] if r["search"] == "untouched"}
    assert set(theirs) == {(mode, dim) for mode in ("dense", "hybrid") for dim in (8, 32)}
    for mode in ("dense", "hybrid"):
        expected = by_library(index, queries, qrels, mode=mode)
        assert {metric: theirs[mode, 32][metric] for metric in TREC} == pytest.approx(expected, abs=1e-6)
    assert measured["compared_with"] == "untouched at 32 dims, 3 layers"
    assert "difference" not in theirs["dense", 32]
    full = next(r for r in measured["rows"] if (r["search"], r["mode"]) == ("this model", "dense"))
    assert full["difference"] == pytest.approx(full["ndcg@10"] - theirs["dense", 32]["ndcg@10"])
    assert full["low"] <= full["difference"] <= full["high"] < 0
    outcomes = {(one["task"], one["other"]): one["outcome"] for one in measured["against"]}
    assert outcomes["dense", "the untouched model"] == "worse"
    assert set(outcomes) == {(t, o) for t in ("dense", "hybrid") for o in ("the untouched model", "BM25")}


def test_a_model_on_documents_is_measured_as_its_index_is(place, measured):
    with pytest.warns(BrickworkWarning, match="made your search worse"):
        again = brickwork.evaluate(
            place / "run",
            place / "docs.jsonl",
            layers=[1, 3],
            dims=[8],
            baselines=True,
            **judged_files(place),
        )
    assert [r for r in again["rows"] if r["dim"] == 8 and r["search"] == "this model"] == [
        r for r in measured["rows"] if r["dim"] == 8 and r["search"] == "this model"
    ]
    assert again["name"] == str(place / "docs.jsonl")
    assert {r["dim"] for r in again["rows"] if r["search"] == "untouched"} == {8, 32}, (
        "asked for, and its full size"
    )
    plain = brickwork.evaluate(place / "published", place / "docs.jsonl", **judged_files(place))
    assert {row["search"] for row in plain["rows"]} == {"this model", "BM25"}
    assert (plain["compared_with"], plain["verdict"]) == ("BM25", "")


def test_the_page_says_that_the_search_is_worse(place, measured):
    page = (place / "report.html").read_text()
    assert "This training made your search worse. By vectors" in page
    assert "dense: nDCG@10" not in page, "the page has words of its own for the modes"
    assert page.count("By vectors and words: nDCG@10") + page.count("By vectors: nDCG@10") >= 2
    assert "Quality at every size: by vectors and words" in page
    assert '<th scope="col">untouched</th>' in page
    assert json.loads(json.dumps(measured, allow_nan=False)) == measured


def test_judgements_of_files_are_measured_on_files(place):
    docs = place / "folder"
    docs.mkdir()
    for number in range(4):
        (docs / f"{number}.md").write_text(
            f"# File {number}\n" + f"\n\n## Part\n\nword{number} is here\n" * 3
        )
    index = brickwork.build_index(place / "published", docs, place / "files", kind="flat")
    assert "1.md#2" in set(index.backend.ids())
    judged = judge(
        {"a": "word1", "b": "word2"}, {"a": {"1.md": 1}, "b": {"2.md": 1}}, list(index.backend.ids())
    )
    with opened(index, None, baselines=False) as searched:
        results = measure_judged(searched, judged)
    words = results.find("BM25", "lexical")
    assert words.scores == dict.fromkeys(TREC, (1.0, 1.0))  # the passages of one file are one result
    assert "judgements name files" in results.notes[-1]


def test_answers_stand_side_by_side(place):
    told = brickwork.evaluate(place / "index", queries=place / "queries.tsv", report=place / "answers.html")
    first = told["answers"][0]
    assert list(first["sides"]) == ["this model", "untouched", "BM25", "hybrid"]
    index = brickwork.open_index(place / "index")
    for name, mode in (("this model", "dense"), ("BM25", "lexical"), ("hybrid", "hybrid")):
        hits = index.search([one["query"] for one in told["answers"]], 5, mode=mode)[0]
        assert [hit["id"] for hit in first["sides"][name]] == [hit.id for hit in hits]
    page = (place / "answers.html").read_text()
    assert "answered in several ways" in page
    assert "0 dims" not in page


def test_a_weight_is_learnt_on_one_half_measured_on_the_other_and_kept(place):
    index = brickwork.build_index(place / "run", place / "docs.jsonl", place / "weighed", kind="flat")
    results = brickwork.evaluate(place / "weighed", learn_weight=True, baselines=False, **judged_files(place))
    found = results["dense_weight"]
    assert found["kept"]
    assert found["weight"] < 0.5  # the vectors of a spoilt model
    assert (found["learnt"]["num_queries"], found["measured_on"]) == (19, 20) == (19, results["queries"])
    assert index.dense_weight is None  # the state that was opened before
    index.refresh()
    assert index.dense_weight == found["weight"]
    assert index.answer("a").fusion.dense_weight == found["weight"]
    assert index.answer("a", dense_weight=0.9).fusion.dense_weight == 0.9
    assert index.answer("a", fusion="ranks").fusion.dense_weight == 0.5
    hybrid = next(row for row in results["rows"] if row["mode"] == "hybrid")
    assert hybrid["ndcg@10"] == pytest.approx(found["with_learnt"])
    told = f"hybrid searches of this index count vectors {found['weight']:g}, as it keeps"
    assert results["notes"] == [told]
    index.keep_dense_weight(None)
    assert brickwork.open_index(place / "weighed").dense_weight is None
    with pytest.raises(ConfigError, match="outside 0 … 1"):
        index.keep_dense_weight(2.0)


def test_a_weight_of_too_few_queries_is_refused(place):
    index = brickwork.open_index(place / "index")
    with pytest.raises(DataError, match="1 judged queries are too few to learn a weight from"):
        learn_and_keep(index, Judged(queries={"a": "x"}, grades={"a": {"d1": 1}}))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("docs.jsonl", {}, "is an index and is searched as it stands; leave DATA"),
        (None, {"seed": 1}, "seed is of a split"),
        (None, {"queries": None}, "qrels can be given with queries only"),
        (None, {"dims": [99]}, "dim=99 is outside"),
        (None, {"layers": [2]}, "holds vectors after 1 and 3 layers, not after 2"),
        (None, {"qrels": None, "learn_weight": True}, "a weight is learnt for an index from judgements"),
    ],
)
def test_what_does_not_fit_is_refused(place, data, options, message):
    given = {**judged_files(place), "baselines": False, **options}
    with pytest.raises(ConfigError, match=message):
        brickwork.evaluate(place / "index", data and place / data, **given)
    with pytest.raises(ConfigError, match="DATA is missing"):
        brickwork.evaluate(place / "published", **judged_files(place))
