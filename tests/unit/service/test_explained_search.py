"""The words that connect a query with a hit, over HTTP: what the index itself answers."""

from dataclasses import replace

import pytest

from brickwork.data.generators.toy_text import toy_facts
from brickwork.data.load import load_task
from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.index.index import open_index
from brickwork.representation.contract import build_system
from brickwork.systems.text2token.recipes import smoke
from running_server import TEXTS as SHORT
from running_server import tiny_model

TEXTS = [fact.statement for fact in toy_facts(20, 3)]
DOCUMENTS = [Document(id=str(n), title="", text=text, source="toy") for n, text in enumerate(TEXTS)]
QUERY = "who mends a lamp in the forest?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An index of an untrained model: what its words are does not matter here."""
    run = smoke()
    encoder = replace(run.model.encoder, max_tokens=64)
    data = load_task(replace(run.data, limit=200), 0)
    system = build_system("text2token", replace(run.model, encoder=encoder), data, 0)
    model = system.eval().representation()
    folder = tmp_path_factory.mktemp("index") / "words"
    build_index(model, DOCUMENTS, folder, model_words=True).close()
    return folder


def test_words_are_those_of_the_index(folder, serve_long):
    api = serve_long(folder)
    body = api.search(query=QUERY, top=3, explain=4).json()
    with open_index(folder) as index:
        wanted = index.search(QUERY, 3, explain=4)[0]
    for hit, expected in zip(body["results"][0], wanted, strict=True):
        assert hit["id"] == expected.id
        assert [(one["word"], one["where"]) for one in hit["words"]] == [
            (one.word, one.where) for one in expected.words
        ]
    assert "words" not in api.search(query=QUERY, top=1).json()["results"][0][0]
    assert api.search(query=QUERY, explain=21).status_code == 400


def test_a_model_that_reads_no_words_cannot_explain(serve_long, tmp_path):
    documents = [Document(id=str(n), title="", text=text, source="short") for n, text in enumerate(SHORT)]
    build_index(tiny_model(), documents, tmp_path / "plain", kind="flat").close()
    refused = serve_long(tmp_path / "plain").search(query=SHORT[0], explain=3)
    assert refused.status_code == 400
    assert "cannot be read as words" in refused.json()["error"]["message"]
