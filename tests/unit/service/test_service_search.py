"""POST /v1/search: the hits are those of NumPy over the representation's vectors."""

import numpy as np
import pytest

from brickwork.service.schemas import MAX_QUERIES
from running_server import TEXTS, documents

QUERY = "a quiet river in winter"


def oracle(model, query, top, *, dim=None, layers=None, keep=lambda document: True):
    """Ids and cosines of the best documents, by brute force in float64."""
    results = [document for document in documents() if keep(document)]
    texts = [
        f"{document.title}\n\n{document.text}" if document.title else document.text for document in results
    ]
    vectors = model.encode(texts, dim=dim, layers=layers).astype(np.float64)
    scores = vectors @ model.encode(query, dim=dim, layers=layers).astype(np.float64)
    best = np.argsort(-scores, kind="stable")[:top]
    return [(results[row].id, scores[row]) for row in best]


@pytest.mark.parametrize(("dim", "layers"), [(None, None), (8, 1), (16, 3), (32, 1)])
def test_results_are_the_nearest_documents(search_api, model, dim, layers):
    sizes = {name: value for name, value in (("dim", dim), ("layers", layers)) if value}
    body = search_api.search(query=QUERY, top=7, mode="dense", **sizes).json()
    wanted = oracle(model, QUERY, 7, dim=dim, layers=layers)
    hits = body["results"][0]
    np.testing.assert_allclose([hit["score"] for hit in hits], [score for _, score in wanted], atol=1e-5)
    assert {hit["id"] for hit in hits[:5]} <= {name for name, _ in wanted}
    assert (body["dim"], body["layers"]) == (dim or 32, layers or 3)
    assert body["documents"] == 100


def test_a_hit_is_the_whole_document(search_api):
    by_id = {document.id: document for document in documents()}
    for hit in search_api.search(query=QUERY).json()["results"][0]:
        document = by_id[hit["id"]]
        assert {key: hit[key] for key in ("title", "text", "source", "meta")} == {
            "title": document.title,
            "text": document.text,
            "source": document.source,
            "meta": dict(document.meta),
        }


def test_the_cost_follows_from_the_stages(search_api):
    """A scan of 100 documents at 8 dims, then 20 at 32: two operations and four bytes a number."""
    body = search_api.search(query=QUERY, top=5, shortlist=20, mode="dense").json()
    assert body["stages"] == [[8, 20], [32, 5]]
    assert body["cost"]["flops"] == 2 * (100 * 8 + 20 * 32)
    assert body["cost"]["bytes_scanned"] == 4 * (100 * 8 + 20 * 32)
    assert body["kind"] == "flat"
    times = body["milliseconds"]
    assert 0 < times["encode"] + times["scan"] <= times["total"]


def test_a_hybrid_search_is_the_default_and_shows_both_sides(search_api):
    body = search_api.search(query=QUERY, top=5).json()
    assert (body["mode"], body["dense_weight"], body["fusion"]) == ("hybrid", 0.5, "scores")
    sides = {}
    for mode in ("dense", "lexical"):
        alone = search_api.search(query=QUERY, top=100, mode=mode).json()
        assert (alone["mode"], alone["dense_weight"], alone["fusion"]) == (mode, None, None)
        sides[mode] = {hit["id"]: hit["score"] for hit in alone["results"][0]}
    assert sides["lexical"]
    for hit in body["results"][0]:
        assert hit["dense"] == pytest.approx(sides["dense"][hit["id"]], abs=1e-5)
        assert hit["lexical"] == pytest.approx(sides["lexical"].get(hit["id"], 0.0), rel=1e-5)
    ranks = search_api.search(query=QUERY, top=5, fusion="ranks", dense_weight=0.2).json()
    assert (ranks["fusion"], ranks["dense_weight"]) == ("ranks", 0.2)


def test_a_lexical_search_encodes_nothing_and_has_no_size(search_api):
    body = search_api.search(query=QUERY, mode="lexical").json()
    assert (body["dim"], body["layers"], body["kind"], body["stages"]) == (0, 0, "", [])
    assert body["milliseconds"]["encode"] == 0
    refused = search_api.search(query=QUERY, mode="lexical", dim=8)
    assert refused.status_code == 400
    assert "dim says how vectors are compared" in refused.json()["error"]["message"]
    assert search_api.search(query=QUERY, mode="words").status_code == 400
    assert search_api.search(query=QUERY, dense_weight=2).status_code == 400


def test_several_queries_have_their_own_results_in_order(search_api):
    queries = TEXTS[10:14]
    together = search_api.search(query=queries, top=3).json()["results"]
    apart = [search_api.search(query=query, top=3).json()["results"][0] for query in queries]
    assert [[hit["id"] for hit in hits] for hits in together] == [
        [hit["id"] for hit in hits] for hits in apart
    ]


@pytest.mark.parametrize("where", [{"source": "1.md", "row": {"gte": 50}}, "source=1.md, row>=50"])
def test_filters(search_api, model, where):
    hits = search_api.search(query=QUERY, top=100, where=where).json()["results"][0]
    wanted = oracle(model, QUERY, 100, keep=lambda d: d.source == "1.md" and d.meta["row"] >= 50)
    assert {hit["id"] for hit in hits} == {name for name, _ in wanted}
    assert len(hits) == 12 or len(hits) == 13


def test_more_results_than_documents(search_api):
    assert len(search_api.search(query=QUERY, top=1000).json()["results"][0]) == 100


def test_sizes_in_between_are_told_of(search_api):
    notes = search_api.search(query=QUERY, dim=9).json()["notes"]
    assert any("dim=9 was not trained" in note for note in notes)


def test_recall_and_budget_are_answered(search_api):
    for options in ({"recall": 0.9}, {"budget_ms": 50.0}):
        body = search_api.search(query=QUERY, top=5, **options).json()
        assert len(body["results"][0]) == 5


WRONG = {
    "empty": ({"query": " "}, "query", "empty"),
    "ids": ({"query": [1, 2]}, "query", "token ids"),
    "missing": ({}, "query", "missing"),
    "too_many": ({"query": ["a"] * (MAX_QUERIES + 1)}, "query", str(MAX_QUERIES)),
    "long": ({"query": "river " * 100}, "query", "tokens"),
    "top_0": ({"query": "a", "top": 0}, "top", "1"),
    "dim": ({"query": "a", "dim": 33}, "dim", "1 … 32"),
    "layers": ({"query": "a", "layers": 4}, "layers", "1 … 3"),
    "recall": ({"query": "a", "recall": 1.5}, "recall", "1"),
    "budget": ({"query": "a", "budget_ms": 0}, "budget_ms", "0"),
    "unknown": ({"query": "a", "limit": 3}, "limit", "Unrecognized"),
    # What only the index knows to be wrong: its message names the option.
    "depth": ({"query": "a", "layers": 2}, None, "layers=2"),
    "field": ({"query": "a", "where": {"yaer": 3}}, None, "'yaer'"),
    "operator": ({"query": "a", "where": {"row": {"like": 3}}}, None, "'like'"),
    "words": ({"query": "a", "where": "row"}, None, "'row'"),
    "shortlist": ({"query": "a", "top": 10, "shortlist": 3}, None, "shortlist=3"),
}


@pytest.mark.parametrize(("body", "param", "words"), WRONG.values(), ids=WRONG)
def test_wrong_values_name_the_field(search_api, body, param, words):
    error = search_api.error(search_api.search(**body), 400)
    assert error["param"] == param
    assert words in error["message"]


def test_an_index_also_embeds(search_api, model):
    np.testing.assert_allclose(search_api.vectors(input=TEXTS[:5]), model.encode(TEXTS[:5]), atol=1e-6)


def test_a_model_without_an_index_says_what_is_missing(api):
    assert "index" in api.error(api.search(query="a"), 404)["message"]
    assert "/v1/search" not in api.get("/openapi.json").json()["paths"]


def test_models_tells_what_can_be_asked_for(search_api, api, model):
    listed = search_api.get("/v1/models").json()
    assert listed["object"] == "list"
    (entry,) = listed["data"]
    assert entry["id"] == "tiny-index"
    assert (entry["dims"], entry["layers"], entry["max_tokens"]) == ([8, 16, 32], [1, 2, 3], 48)
    assert (entry["documents"], entry["depths"]) == (100, [1, 3])
    assert set(entry["fields"]) == {"id", "title", "source", "row", "even"}
    assert search_api.get("/v1/models/tiny-index").json() == entry
    search_api.error(search_api.get("/v1/models/other"), 404)
    (alone,) = api.get("/v1/models").json()["data"]
    assert "documents" not in alone
    assert alone["fingerprint"] == model.fingerprint


def test_text_without_utf8_form_in_a_filter_is_the_clients_mistake(search_api):
    answer = search_api.post(
        "/v1/search",
        content=b'{"query": "a", "where": {"\\ud800": "x"}}',
        headers={"Content-Type": "application/json"},
    )
    assert "no document has this field" in search_api.error(answer, 400)["message"]


def test_the_list_of_models_with_a_slash_behind_it(search_api):
    (served,) = search_api.get("/v1/models/").json()["data"]
    assert served["id"] == search_api.get("/v1/models").json()["data"][0]["id"]
