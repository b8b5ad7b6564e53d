"""POST /v1/embeddings: the numbers are those of the representation, the refusals those of OpenAI."""

import base64
import concurrent.futures
import json

import numpy as np
import pytest

from brickwork.service.config import Limits
from running_server import MAX_TOKENS, TEXTS

LONG = "river " * (2 * MAX_TOKENS)


@pytest.mark.filterwarnings("ignore:dim=13 was not trained")
@pytest.mark.parametrize("layers", [None, 1, 2, 3])
@pytest.mark.parametrize("dimensions", [None, 8, 13, 32])
def test_vectors_are_those_of_the_representation(api, model, dimensions, layers):
    wanted = model.encode(TEXTS[:20], dim=dimensions, layers=layers)
    sizes = {name: value for name, value in (("dimensions", dimensions), ("layers", layers)) if value}
    results = api.vectors(input=TEXTS[:20], **sizes)
    np.testing.assert_allclose(results, wanted, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(results, axis=1), 1, atol=1e-6)


def test_base64_is_little_endian_float32(api):
    numbers = api.vectors(input=TEXTS[:3])
    data = api.embed(input=TEXTS[:3], encoding_format="base64").json()["data"]
    results = [np.frombuffer(base64.b64decode(entry["embedding"]), dtype="<f4") for entry in data]
    np.testing.assert_array_equal(results, numbers.astype(np.float32))


def test_the_answer_has_openai_s_form_and_true_counts(api, model):
    body = api.embed(input=[TEXTS[0], LONG[: 6 * 20]]).json()
    tokens = model.encoder.tokenizer
    count = sum(len(tokens.encode(text).ids) for text in (TEXTS[0], LONG[: 6 * 20]))
    assert body["object"] == "list"
    assert body["model"] == "tiny"
    assert body["usage"] == {"prompt_tokens": count, "total_tokens": count}
    assert [(entry["object"], entry["index"]) for entry in body["data"]] == [
        ("embedding", 0),
        ("embedding", 1),
    ]


def test_one_string_and_a_list_of_one_are_the_same(api):
    np.testing.assert_array_equal(api.vectors(input="a river"), api.vectors(input=["a river"]))


def test_many_texts_come_back_in_order(api, model):
    texts = [f"{TEXTS[row % 100]} {TEXTS[row * 7 % 100]}" for row in range(1500)]
    np.testing.assert_allclose(api.vectors(input=texts), model.encode(texts), atol=1e-6)


def test_requests_at_the_same_time_get_their_own_vectors(api, model):
    """Different sizes and depths at once: batches are shared, answers are not mixed up."""
    cases = [(row, (8, 16, 32)[row % 3], 1 + row % 3) for row in range(60)]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        results = list(
            pool.map(
                lambda case: api.vectors(input=TEXTS[case[0]], dimensions=case[1], layers=case[2]), cases
            )
        )
    for (row, dim, layers), vectors in zip(cases, results, strict=True):
        np.testing.assert_allclose(vectors[0], model.encode(TEXTS[row], dim=dim, layers=layers), atol=1e-6)


@pytest.mark.parametrize("name", ["tiny", "default", "fingerprint"])
def test_names_of_the_model(api, model, name):
    assert api.embed(model=model.fingerprint if name == "fingerprint" else name, input="a").status_code == 200


def test_another_model_is_not_found(api):
    error = api.error(api.embed(model="text-embedding-3-small", input="a"), 404)
    assert error["code"] == "model_not_found"
    assert error["param"] == "model"
    assert "'tiny'" in error["message"]


def test_a_model_can_be_called_by_another_name(serve, model_folder):
    client = serve(model_folder, name="text-embedding-3-small")
    assert client.embed(model="text-embedding-3-small", input="a").json()["model"] == "text-embedding-3-small"
    client.error(client.embed(model="tiny", input="a"), 404)


@pytest.mark.parametrize("ids", [[1, 2, 3], [[1, 2], [3]], 5, ["text", [1]]])
def test_token_ids_are_refused_in_so_many_words(api, ids):
    error = api.error(api.embed(input=ids), 400)
    assert error["type"] == "invalid_request_error"
    assert (error["param"], error["code"]) == ("input", "token_ids")
    assert "token ids are not accepted" in error["message"]


WRONG = {
    "input_missing": ({}, "input", "missing"),
    "input_null": ({"input": None}, "input", "string"),
    "input_empty_list": ({"input": []}, "input", "empty"),
    "input_empty_text": ({"input": ""}, "input", "the text is empty; give one"),
    "input_blank_item": ({"input": ["a", " \n"]}, "input", "item 1"),
    "input_item": ({"input": ["a", None]}, "input", "item 1"),
    "input_bool": ({"input": True}, "input", "string"),
    "input_surrogate": ({"input": "\ud800"}, "input", "string"),
    "too_many": ({"input": ["a"] * 2049}, "input", "2048"),
    "dimensions_0": ({"input": "a", "dimensions": 0}, "dimensions", "1"),
    "dimensions_33": ({"input": "a", "dimensions": 33}, "dimensions", "1 … 32"),
    "dimensions_text": ({"input": "a", "dimensions": "8"}, "dimensions", "integer"),
    "dimensions_float": ({"input": "a", "dimensions": 8.5}, "dimensions", "integer"),
    "layers_4": ({"input": "a", "layers": 4}, "layers", "1 … 3"),
    "format": ({"input": "a", "encoding_format": "int8"}, "encoding_format", "base64"),
    "unknown": ({"input": "a", "dimension": 8}, "dimension", "Unrecognized"),
    "model_type": ({"input": "a", "model": 3}, "model", "string"),
    "long_text": ({"input": ["a", LONG]}, "input", f"{MAX_TOKENS} tokens"),
}


@pytest.mark.parametrize(("body", "param", "words"), WRONG.values(), ids=WRONG)
def test_wrong_values_name_the_field(api, body, param, words):
    content = json.dumps({"model": "default", **body}).encode()  # the client's own would refuse a surrogate
    headers = {"Content-Type": "application/json"}
    error = api.error(api.post("/v1/embeddings", content=content, headers=headers), 400)
    assert error["param"] == param
    assert words in error["message"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000, b'{"model": "default", "input": NaN}',
     b'{"model": "default", "input": "a", "dimensions": 1' + b"0" * 5000 + b"}"],
)  # fmt: skip
def test_what_is_no_request_at_all_is_refused(api, content):
    headers = {"Content-Type": "application/json"}
    api.error(api.post("/v1/embeddings", content=content, headers=headers), 400)


def test_a_body_that_is_no_json_by_its_type_is_refused(api):
    """As ``curl -d`` sends it: what to add is said, not what the validator calls it."""
    for body in ({"data": {"model": "default", "input": "a"}}, {"content": b'{"input": "a"}'}, {"json": [1]}):
        error = api.error(api.post("/v1/embeddings", **body), 400)
        assert (
            "must be a JSON object, sent with the header 'Content-Type: application/json'" in error["message"]
        )


def test_long_texts_are_cut_where_that_was_chosen(serve, model_folder, model):
    client = serve(model_folder, cut_long=True)
    with pytest.warns(UserWarning, match="longer than"):
        wanted = model.encode(["a", LONG])
    np.testing.assert_allclose(client.vectors(input=["a", LONG]), wanted, atol=1e-6)
    assert client.embed(input=LONG).json()["usage"]["prompt_tokens"] == MAX_TOKENS


def test_a_text_of_just_the_longest_length_is_taken(api, model):
    count = 1
    while len(model.encoder.tokenize(["river " * (count + 1)]).ids) <= MAX_TOKENS - 1:
        count += 1
    text = "river " * count
    longest = text if len(model.encoder.tokenize([text]).ids) == MAX_TOKENS else text + "river"
    assert len(model.encoder.tokenize([longest]).ids) == MAX_TOKENS
    assert api.embed(input=longest).status_code == 200


def test_more_tokens_than_the_queue_holds_are_refused_for_good(serve, model_folder):
    client = serve(model_folder, limits=Limits(queue_tokens=100, batch_tokens=50))
    error = client.error(client.embed(input=TEXTS[:60]), 400)
    assert error["code"] == "max_tokens_per_request"
    assert client.embed(input=TEXTS[:10]).status_code == 200


def test_a_model_that_gives_no_finite_vector_is_a_server_error(serve, model_folder, monkeypatch, logged):
    client = serve(model_folder)
    monkeypatch.setattr(
        "brickwork.service.serving.Served.vectors",
        lambda self, tokens, layers: np.full((len(tokens), 32), np.nan, np.float32),
    )
    assert client.error(client.embed(input="a"), 500)["type"] == "server_error"


def test_a_defect_is_answered_and_logged_without_what_it_was_about(serve, model_folder, monkeypatch, logged):
    client = serve(model_folder)

    def broken(self, tokens, layers):
        raise KeyError("a secret text")

    monkeypatch.setattr("brickwork.service.serving.Served.vectors", broken)
    error = client.error(client.embed(input="a secret text"), 500)
    assert error["type"] == "server_error"
    line = next(line for line in logged if line["event"] == "error")
    assert line["error"] == "KeyError"
    assert any("broken" in place for place in line["at"])
    assert "secret" not in json.dumps(logged) + json.dumps(error)
    assert client.get("/health").status_code == 200
