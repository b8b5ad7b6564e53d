"""Files of word vectors: those of gensim 4.4 and fastText 0.9.2 (tests/golden/word_vectors, with what these libraries read
from them), and damaged ones."""

import json
from pathlib import Path

import numpy as np
import pytest

from brickwork.core.errors import ConfigError, DataError
from brickwork.representation.subwords import SubwordVectors, character_ngrams
from brickwork.representation.vectors import WordVectors

GOLDEN = Path(__file__).parents[2] / "golden" / "word_vectors"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))
FILES = {"text": "gensim.vec", "binary": "gensim.w2v.bin"}


@pytest.fixture
def table():
    return WordVectors(("the", "cat", "naïve"), np.array([[1, 0], [0.6, 0.8], [0, -1e-7]], np.float32))


@pytest.mark.parametrize("format", FILES)
def test_files_of_gensim(format):
    found = WordVectors.read(GOLDEN / FILES[format])
    assert list(found.words) == list(EXPECTED["table"])
    for word, vector in EXPECTED["table"].items():
        np.testing.assert_allclose(found[word], vector, rtol=1e-6)


@pytest.mark.parametrize("format", FILES)
def test_written_files_hold_the_same_bits(tmp_path, table, format):
    table.write(tmp_path / "v", format)
    again = WordVectors.read(tmp_path / "v", format)
    assert again.words == table.words
    assert again.matrix.tobytes() == table.matrix.tobytes()


@pytest.mark.parametrize("format", FILES)
def test_written_files_are_laid_out_as_gensims(tmp_path, format):
    """Numbers of a text are written shorter here where that is the same 32 bits; a line break follows binary vectors, as in
    the first word2vec's files."""
    WordVectors.read(GOLDEN / FILES[format]).write(tmp_path / "v", format)
    ours, theirs = (tmp_path / "v").read_bytes(), (GOLDEN / FILES[format]).read_bytes()
    if format == "text":
        assert [line.split()[0] for line in ours.splitlines()] == [
            line.split()[0] for line in theirs.splitlines()
        ]
    else:
        head, *_rows = (theirs[:4], *(theirs[4:].split(b" ")))
        assert ours.startswith(head)
        assert len(ours) == len(theirs) + len(EXPECTED["table"])


def test_the_first_words_alone(table, tmp_path):
    for format in FILES:
        table.write(tmp_path / "v", format)
        assert WordVectors.read(tmp_path / "v", format, limit=2).words == ("the", "cat")


def test_glove_has_no_first_line(tmp_path):
    (tmp_path / "glove.txt").write_text("the 0.5 -1\n. 2 3e-2\n", encoding="utf-8")
    found = WordVectors.read(tmp_path / "glove.txt")
    assert found.words == ("the", ".")
    assert found.matrix.tolist() == [[0.5, -1], [2, np.float32(0.03)]]


def test_words_with_spaces_are_read_from_the_right(tmp_path):
    """As crawled tables have them (GloVe 840B: ". . ." and addresses)."""
    (tmp_path / "v").write_text("2 2\n. . . 1 2\nat name@domain.com 3 4\n", encoding="utf-8")
    found = WordVectors.read(tmp_path / "v")
    assert found.words == (". . .", "at name@domain.com")
    with pytest.raises(DataError, match="has a space"):
        found.write(tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_neighbours(table):
    assert table.neighbours("cat", 2) == [("the", pytest.approx(0.6)), ("naïve", pytest.approx(-0.8))]
    assert table.neighbours(np.array([3, 0], np.float32), 1) == [("the", pytest.approx(1.0))]
    with pytest.raises(DataError, match=r"no vector of 'catt'.*cat"):
        table.neighbours("catt")


def test_neighbours_are_gensims():
    found = WordVectors.read(GOLDEN / "gensim.vec").neighbours("the", 3)
    assert [w for w, _ in found] == [w for w, _ in EXPECTED["neighbours_of_the"]]
    np.testing.assert_allclose(
        [s for _, s in found], [s for _, s in EXPECTED["neighbours_of_the"]], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"2 2\na 1 2\n", "says 2 words, and there are 1"),
        (b"2 2\na 1 2\nb 1\n", "line 3"),
        (b"2 2\na 1 2\nb 1 x\n", "line 3 has something that is no number"),
        (b"2 2\na 1 2\na 1 2\n", "'a' is there twice"),
        (b"1 2\na 1 nan\n", "'a' has a number that is not finite"),
        (b"", "line 1"),
        (b"hello\n", "line 1"),
        (b"hello big world\n", "line 1 has something that is no number"),
    ],
)
def test_damaged_texts(tmp_path, content, says):
    (tmp_path / "v.txt").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        WordVectors.read(tmp_path / "v.txt")
    assert "v.txt" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 3, 10, 60, 91])
def test_a_binary_file_cut_anywhere(tmp_path, keep):
    data = (GOLDEN / FILES["binary"]).read_bytes()
    (tmp_path / "v.bin").write_bytes(data[:keep])
    with pytest.raises(DataError, match=r"v\.bin"):
        WordVectors.read(tmp_path / "v.bin")


def test_a_file_of_the_other_format(tmp_path):
    with pytest.raises(DataError, match="format='binary'"):
        WordVectors.read(GOLDEN / FILES["binary"], "text")
    with pytest.raises(DataError):
        WordVectors.read(GOLDEN / FILES["text"], "binary")
    with pytest.raises(ConfigError, match="binary"):
        WordVectors.read(GOLDEN / FILES["text"], "binry")
    with pytest.raises(ConfigError, match="at least 1"):
        WordVectors.read(GOLDEN / FILES["text"], limit=0)
    with pytest.raises(DataError, match="No such file"):
        WordVectors.read(tmp_path / "none.vec")


@pytest.mark.parametrize("words", [("a", "a"), ("", "b"), ("a\nb", "c"), ("a",)])
def test_words_that_no_table_can_have(words):
    with pytest.raises(DataError):
        WordVectors(words, np.zeros((2, 3), np.float32))


def test_a_model_of_fasttext():
    found = SubwordVectors.read(GOLDEN / "fasttext.bin")
    assert list(found.words) == EXPECTED["words"]
    for word, vector in EXPECTED["vectors"].items():  # three of them were never there
        assert found.rows_of(word) == EXPECTED["rows"][word]
        np.testing.assert_allclose(found[word], vector, atol=1e-7)
    table = found.vectors()
    np.testing.assert_array_equal(table["cat"], found["cat"])


def test_a_written_model_is_the_same(tmp_path):
    """fastText itself and gensim read such files, which was tried; here that reading one again gives the same."""
    found = SubwordVectors.read(GOLDEN / "fasttext.bin")
    found.write(tmp_path / "m.bin")
    again = SubwordVectors.read(tmp_path / "m.bin")
    assert again.words == found.words
    assert (again.counts == found.counts).all()
    assert again.rows.tobytes() == found.rows.tobytes()
    assert (again.shortest, again.longest) == (found.shortest, found.longest)


def test_ngrams_of_a_word():
    """Bojanowski et al. 2017, section 3.2: the 3-grams of "where"."""
    assert list(character_ngrams("where", 3, 3)) == ["<wh", "whe", "her", "ere", "re>"]
    assert list(character_ngrams("ab", 1, 2)) == ["<a", "a", "ab", "b", "b>"]


@pytest.mark.parametrize("keep", [0, 7, 40, 80, 120, 400])
def test_a_model_cut_anywhere(tmp_path, keep):
    data = (GOLDEN / "fasttext.bin").read_bytes()
    (tmp_path / "m.bin").write_bytes(data[:keep])
    with pytest.raises(DataError, match=r"m\.bin"):
        SubwordVectors.read(tmp_path / "m.bin")


def test_no_model(tmp_path):
    with pytest.raises(DataError, match=r"WordVectors\.read"):
        SubwordVectors.read(GOLDEN / "gensim.vec")
    with pytest.raises(DataError, match="No such file"):
        SubwordVectors.read(tmp_path / "m.bin")
    with pytest.raises(DataError, match="n-grams of 4 to 3"):
        SubwordVectors(("a",), np.array([1]), np.zeros((2, 3), np.float32), 4, 3)
