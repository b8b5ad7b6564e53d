"""Reranking, groups and neighbours over HTTP: what the index itself answers."""

import pytest

from brickwork.core.errors import ConfigError
from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.index.reranking import Reranker
from brickwork.service.config import ServiceConfig
from brickwork.service.serving import load_served
from running_server import TEXTS, tiny_model
from tiny_cross_encoder import write

QUERY = "a quiet river in winter"


@pytest.fixture(scope="module")
def reranker_folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("reranker") / "tiny-reranker")


@pytest.fixture(scope="module")
def passages(tmp_path_factory):
    """An index of four files of five passages."""
    documents = [
        Document(
            id=f"{name}.md#{n}",
            title="",
            text=f"{TEXTS[(5 * row + n) % len(TEXTS)]} {n} a b",
            source=f"{name}.md",
        )
        for row, name in enumerate("pqrs")
        for n in range(5)
    ]
    folder = tmp_path_factory.mktemp("passages") / "index"
    build_index(tiny_model(), documents, folder, kind="flat").close()
    return folder


@pytest.fixture(scope="module")
def api(serve_long, passages, reranker_folder):
    return serve_long(passages, rerank=str(reranker_folder))


@pytest.fixture(scope="module")
def index(passages):
    with open_index(passages) as index:
        yield index


def test_hits_are_reranked_where_a_request_asks_for_it(api, index, reranker_folder):
    assert api.get("/v1/models").json()["data"][0]["reranker"] == str(reranker_folder)
    plain = api.search(query=QUERY, top=5).json()
    assert (plain["reranked"], plain["milliseconds"]["rerank"]) == (0, 0)
    assert "first_score" not in plain["results"][0][0]
    body = api.search(query=[QUERY, "a b"], top=5, rerank=True, rerank_top=12).json()
    wanted = index.search([QUERY, "a b"], 5, rerank=Reranker.load(reranker_folder), rerank_top=12)
    assert body["reranked"] == 12
    assert body["milliseconds"]["rerank"] > 0
    for hits, expected in zip(body["results"], wanted, strict=True):
        assert [hit["id"] for hit in hits] == [hit.id for hit in expected]
        assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-3)
        assert [hit["first_score"] for hit in hits] == pytest.approx(
            [hit.first_score for hit in expected], rel=1e-4
        )


def test_hits_are_grouped_and_come_with_their_neighbours(api, index):
    body = api.search(query=QUERY, top=3, group_by="source", neighbours=1).json()
    wanted = index.search(QUERY, 3, group_by="source", neighbours=1)[0]
    for hit, expected in zip(body["results"][0], wanted, strict=True):
        assert [one["id"] for one in hit["others"]] == [one.id for one in expected.others]
        assert len(hit["others"]) == 4
        for side in ("before", "after"):
            assert [one["text"] for one in hit[side]] == [one.text for one in getattr(expected, side)]


def test_neighbours_are_given_of_any_passage(api):
    body = api.get("/v1/neighbours", params={"id": "q.md#3", "count": 2}).json()
    assert [[one["id"] for one in body[side]] for side in ("before", "after")] == [
        ["q.md#1", "q.md#2"],
        ["q.md#4"],
    ]
    missing = api.get("/v1/neighbours", params={"id": "q.md#9"})
    assert "'q.md#9'" in api.error(missing, 404)["message"]
    assert api.get("/v1/neighbours", params={"id": "q.md#3", "count": 6}).status_code == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"rerank_top": 20}, "rerank_top has an effect only with rerank"),
        ({"rerank": True, "top": 9, "rerank_top": 4}, "rerank_top=4 is less than top=9"),
        ({"query": ["a"] * 200, "rerank": True}, "Reranking 50 hits of 200 queries reads about 200"),
        ({"group_by": "shop"}, "no hit has this field"),
        ({"neighbours": 9}, "neighbours"),
    ],
)
def test_what_cannot_be_is_refused(api, body, message):
    assert message in api.error(api.search(**{"query": QUERY, **body}), 400)["message"]


def test_a_server_without_a_reranker_says_how_to_get_one(serve, passages, model_folder, reranker_folder):
    client = serve(passages)
    assert "reranker" not in client.get("/v1/models").json()["data"][0]
    refused = client.error(client.search(query=QUERY, rerank=True), 400)
    assert "start it with --rerank MODEL" in refused["message"]
    with pytest.raises(ConfigError, match="--rerank has an effect only with an index"):
        load_served(str(model_folder), rerank=str(reranker_folder))
    with pytest.raises(ConfigError, match="--rerank-revision has an effect only with --rerank"):
        ServiceConfig(target="x", rerank_revision="abc")
