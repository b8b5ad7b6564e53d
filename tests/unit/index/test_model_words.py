"""An index that keeps the words that a model reads off its vectors: scores by hand, changes, repair, reasons, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest

import brickwork
from brickwork.core.errors import ConfigError
from brickwork.data.generators.toy_text import toy_facts
from brickwork.data.load import load_task
from brickwork.data.types import Document
from brickwork.index.build import build_index
from brickwork.index.lifecycle import repair_index, verify_index
from brickwork.index.postings import WEIGHT_UNITS
from brickwork.representation.contract import build_system
from brickwork.systems.text2token.recipes import smoke

TEXTS = [fact.statement for fact in toy_facts(40, 3)]
DOCUMENTS = [Document(id=str(n), title="", text=text, source="toy") for n, text in enumerate(TEXTS)]
QUERY = "who mends a lamp in the forest?"


@pytest.fixture(scope="module")
def model():
    """Untrained: what its words are does not matter here."""
    run = smoke()
    encoder = replace(run.model.encoder, max_tokens=64)
    data = load_task(replace(run.data, limit=200), 0)
    return build_system("text2token", replace(run.model, encoder=encoder), data, 0).eval().representation()


@pytest.fixture(scope="module")
def index(model, tmp_path_factory):
    return build_index(model, DOCUMENTS[:30], tmp_path_factory.mktemp("index") / "words", model_words=True)


def by_hand(model, texts):
    """The products of sparse vectors, by scipy, rounded as an index keeps them."""
    kept = model.encode(texts, view="sparse")
    kept.data = np.round(kept.data * WEIGHT_UNITS) / WEIGHT_UNITS
    return np.asarray((model.asked([QUERY]) @ kept.T).todense())[0]


def test_words_are_compared_by_the_product_of_weights(model, index):
    hits = index.search(QUERY, top=30, mode="lexical")[0]
    expected = by_hand(model, TEXTS[:30])
    order = np.argsort(-expected, kind="stable")
    assert [hit.id for hit in hits][:5] == [str(row) for row in order[:5]]
    np.testing.assert_allclose([hit.score for hit in hits], expected[order][: len(hits)], rtol=1e-4)


def test_both_sides_are_fused_from_one_model(model, index):
    answer = index.answer(QUERY, 5)
    assert (answer.mode, answer.words_by) == ("hybrid", "model")
    hit = answer.hits[0][0]
    assert hit.lexical == pytest.approx(by_hand(model, TEXTS[:30])[int(hit.id)], rel=1e-4)
    assert hit.dense == pytest.approx(float(model.encode(QUERY) @ model.encode(hit.text)), abs=1e-5)


@pytest.mark.filterwarnings("ignore:dim=8 was not trained")
def test_reasons_do_not_depend_on_the_size_of_the_search(model, index):
    whole, short = (index.search(QUERY, 30, mode="dense", dim=dim, explain=4)[0] for dim in (None, 8))
    reasons = {hit.id: hit.words for hit in whole}
    assert any(hit.score != pytest.approx(other.score) for hit, other in zip(whole, short))
    for hit in short:
        assert [one.word for one in hit.words] == [one.word for one in reasons[hit.id]]
        np.testing.assert_allclose(
            [w.share for w in hit.words], [w.share for w in reasons[hit.id]], rtol=1e-3
        )
    assert whole[0].values()["words"][0].keys() == {"word", "share", "where"}
    assert "words" not in index.search(QUERY, 1)[0][0].values()
    assert index.search(QUERY, 1, mode="lexical", explain=2)[0][0].words is not None


def test_changes_keep_the_words_of_what_is_there(model, tmp_path):
    index = build_index(model, DOCUMENTS[:20], tmp_path / "index", model_words=True)
    index.add(DOCUMENTS[20:30])
    index.remove(["3"])
    report = index.sync([replace(DOCUMENTS[0], source="moved"), *DOCUMENTS[1:35]])
    assert (report.added, report.updated) == (6, 1)
    index.close()
    with brickwork.open_index(tmp_path / "index") as again:
        hits = again.search(QUERY, top=35, mode="lexical")[0]
    expected = by_hand(model, TEXTS[:35])
    assert {hit.id for hit in hits} == {str(row) for row in np.flatnonzero(expected)}
    for hit in hits:
        assert hit.score == pytest.approx(expected[int(hit.id)], rel=1e-3)


def test_a_repair_reads_the_words_again(model, tmp_path):
    index = build_index(model, DOCUMENTS, tmp_path / "index", model_words=True)
    before = [(hit.id, hit.score) for hit in index.search(QUERY, mode="lexical")[0]]
    index.close()
    (words,) = (tmp_path / "index").rglob("words.arrow")
    words.write_bytes(b"damaged")
    assert verify_index(tmp_path / "index")
    report = repair_index(tmp_path / "index")
    assert not report.lost
    with brickwork.open_index(tmp_path / "index") as again:
        assert [(hit.id, hit.score) for hit in again.search(QUERY, mode="lexical")[0]] == before


def test_without_it_words_are_those_of_the_text(model, tmp_path):
    index = build_index(model, DOCUMENTS, tmp_path / "index")
    answer = index.answer("vessel", 3, mode="lexical", explain=2)
    assert answer.words_by == "BM25"
    assert all("vessel" in hit.text for hit in answer.hits[0])
    assert len(answer.hits[0][0].words) == 2


@pytest.mark.filterwarnings("ignore:dim=8 was not trained")
def test_what_cannot_be_read_as_words_is_refused(model, tmp_path):
    with pytest.raises(ConfigError, match="leave dim, bits and layers out"):
        build_index(model, DOCUMENTS, tmp_path / "a", model_words=True, dim=8)
    with pytest.raises(ConfigError, match="leave dim, bits and layers out"):
        build_index(model, DOCUMENTS, tmp_path / "a", model_words=True, codec="bits")
    with pytest.raises(ConfigError, match="kept in the folder of an index"):
        build_index(
            model, DOCUMENTS, tmp_path / "a", model_words=True, store="postgresql://nobody@nowhere/db"
        )
    with pytest.raises(ConfigError, match="leave one of them out"):
        build_index(model, DOCUMENTS, tmp_path / "a", model_words=True, lexical=False)
    with pytest.raises(ConfigError, match="words is 'both'"):
        brickwork.build_index(model, tmp_path, tmp_path / "a", words="both")
    plain = brickwork.representation.model.Representation(model.encoder, model.axes)
    with pytest.raises(ConfigError, match=r"cannot be read as words.*text2token"):
        build_index(plain, DOCUMENTS, tmp_path / "a", model_words=True)
    assert not (tmp_path / "a").exists()
    with pytest.raises(ConfigError, match="cannot be read as words"):
        build_index(plain, DOCUMENTS, tmp_path / "b").search(QUERY, explain=3)


@pytest.mark.filterwarnings("ignore:dim=8 was not trained")
def test_sparse_vectors_are_written_and_gone_on_with(model, tmp_path):
    import pyarrow.parquet

    from brickwork.representation.export_parquet import encode_to_disk

    encode_to_disk(model, DOCUMENTS, tmp_path / "sparse", view="sparse", shard_size=25)
    again = encode_to_disk(model, DOCUMENTS, tmp_path / "sparse", view="sparse", shard_size=25)
    assert (again["shards"], again["reused"]) == (2, 40)
    table = pyarrow.parquet.read_table(tmp_path / "sparse" / "vectors-00001.parquet")
    sparse = model.encode([table["text"][0].as_py()], view="sparse")
    expected = {model.words[w]: x for w, x in zip(sparse.indices, sparse.data)}
    assert dict(table["words"][0].as_py()) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ConfigError, match="was begun with dtype='words'"):
        encode_to_disk(model, DOCUMENTS, tmp_path / "sparse", shard_size=25)
    with pytest.raises(ConfigError, match="leave --dim and --layers out"):
        encode_to_disk(model, DOCUMENTS, tmp_path / "short", view="sparse", dim=8)
    with pytest.raises(ConfigError, match="view is 'both'"):
        encode_to_disk(model, DOCUMENTS, tmp_path / "short", view="both")


def test_the_command_line_names_the_words(model, tmp_path):
    from typer.testing import CliRunner

    from brickwork.cli.main import app

    model.save(tmp_path / "model")
    (tmp_path / "docs.jsonl").write_text(
        "\n".join(json.dumps({"id": d.id, "text": d.text}) for d in DOCUMENTS)
    )
    runner = CliRunner()

    def call(*arguments):
        result = runner.invoke(app, [*map(str, arguments)])
        assert result.exit_code == 0, result.output
        return result.stdout

    call(
        "index",
        tmp_path / "model",
        tmp_path / "docs.jsonl",
        "--out",
        tmp_path / "index",
        "--words",
        "model",
        "--quiet",
    )
    printed = call("search", tmp_path / "index", QUERY, "--explain", "--top", "2", "--quiet")
    assert printed.count("words:") == 2
    found = json.loads(call("search", tmp_path / "index", QUERY, "--explain", "--json"))
    assert len(found["results"][0]["words"]) == 6
    call(
        "encode",
        tmp_path / "model",
        tmp_path / "docs.jsonl",
        "--out",
        tmp_path / "s",
        "--view",
        "sparse",
        "--quiet",
    )
