"""Cutting, cleaning and training; the oracle is the tokenizer run on the whole text."""

import subprocess
import sys

import pytest
from tokenizers import Tokenizer

from brickwork.core.errors import ArtifactError, DataError
from brickwork.encoders.tokenization import (
    clean_text,
    encode_texts,
    load_tokenizer,
    read_tokenizer,
    train_tokenizer,
)

CORPUS = [f"value_{i} = parse(line) # größer 数字 {i * 37}" for i in range(60)]


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    tokenizer = train_tokenizer(CORPUS, 400)
    tokenizer.enable_truncation(8)
    return tokenizer


LONG = [
    "parse line " * 5000,
    " " * 3000 + "parse line " * 50,
    "parse" + "\n" * 2000 + "line",
    "a" * 5000,
    "parse " * 26 + "x" * 400,
]


@pytest.mark.parametrize("text", LONG)
def test_long_texts_give_the_tokens_of_the_whole_text(trained, text):
    rows, truncated = encode_texts(trained, [text], 8, marks=True)
    whole = trained.encode(text)
    assert rows == [whole.ids]
    assert truncated == bool(whole.overflowing)


def test_wordpiece_too(minilm):
    texts = ["word " * 30_000, "y" * 9000 + " end", "antidisestablishmentarianism " * 400]
    rows, truncated = encode_texts(minilm.tokenizer, texts, 256, marks=True)
    assert rows == [minilm.tokenizer.encode(t).ids for t in texts]
    assert truncated == 2  # the nine thousand letters are one unknown word


def test_marks_survive_the_cut(trained):
    (row,), _ = encode_texts(trained, ["parse line " * 100], 8, marks=True)
    assert len(row) == 8
    assert [trained.id_to_token(row[0]), trained.id_to_token(row[-1])] == ["[CLS]", "[SEP]"]
    (bare,), _ = encode_texts(trained, ["parse"], 8, marks=False)
    assert "[CLS]" not in [trained.id_to_token(t) for t in bare]


def test_lone_surrogates_are_replaced(trained):
    assert clean_text("a\ud800b\udfff") == "a\ufffdb\ufffd"
    rows, _ = encode_texts(trained, ["fine", "a\ud800b"], 8, marks=True)
    assert rows == [trained.encode("fine").ids, trained.encode("a\ufffdb").ids]


def test_nothing_is_unknown_and_case_and_spaces_fold(trained):
    unknown = trained.token_to_id("[UNK]")
    rows, _ = encode_texts(trained, ["Völlig neue Wörter 漢字 🙂\x00"], 8, marks=True)
    assert unknown not in rows[0]
    assert trained.encode("Parse\n\t  LINE").ids == trained.encode(" parse line ").ids


def test_training_is_the_same_in_every_process(trained):
    code = (
        "import hashlib; from brickwork.encoders.tokenization import train_tokenizer as t;"
        f"print(hashlib.sha256(t({CORPUS!r}, 400).to_str().encode()).hexdigest())"
    )
    hashes = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(hashes) == 1


def test_vocabulary_size_is_kept(trained):
    assert 256 < trained.get_vocab_size() <= 400


@pytest.mark.parametrize("texts", [[], ["", "  \n"]])
def test_no_text_to_train_on(texts):
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(texts, 400)


def test_damaged_tokenizers_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match="notes is not a tokenizer"):
        read_tokenizer("{}", "notes")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is missing"):
        load_tokenizer(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ArtifactError, match="not UTF-8"):
        load_tokenizer(tmp_path / "tokenizer.json")
