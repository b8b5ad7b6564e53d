"""Vocabularies and counts, against scikit-learn's vectorizers and enumeration by hand."""

import itertools
import json
import random
from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from brickwork.core.errors import ConfigError, DataError
from brickwork.core.words import plain_words
from brickwork.data import vocabulary as module
from brickwork.data.vocabulary import Vocabulary


def some_texts(count=300, words=40, seed=0):
    draw = random.Random(seed)
    names = [f"w{n}" for n in range(words)]
    weights = [1 / (n + 1) for n in range(words)]
    return [" ".join(draw.choices(names, weights, k=draw.randrange(0, 30))) for _ in range(count)]


@pytest.mark.parametrize("ngrams", [1, 2, 3])
@pytest.mark.parametrize("blocks", [7, 2048])
def test_counts_are_those_of_scikit_learn(monkeypatch, ngrams, blocks):
    monkeypatch.setattr(module, "_TEXTS", blocks)
    monkeypatch.setattr(module, "_PENDING", 50)
    texts = some_texts()
    theirs = CountVectorizer(
        ngram_range=(1, ngrams), tokenizer=plain_words, token_pattern=None, lowercase=False
    )
    expected = theirs.fit_transform(texts)
    ours = Vocabulary.from_texts(iter(texts), ngrams=ngrams)
    assert set(ours.entries) == set(theirs.vocabulary_)
    places = [theirs.vocabulary_[entry] for entry in ours.entries]
    bags = ours.bags(iter(texts))
    assert (bags != expected[:, places]).nnz == 0
    assert bags.dtype == np.float32
    assert bags.has_sorted_indices
    assert (ours.counts == np.asarray(expected.sum(0)).ravel()[places]).all()
    assert (ours.documents == np.asarray((expected > 0).sum(0)).ravel()[places]).all()
    idf = TfidfTransformer(smooth_idf=True).fit(expected).idf_[places]
    np.testing.assert_allclose(ours.idf(), idf, rtol=1e-12)
    np.testing.assert_allclose(ours.idf(smooth=False), np.log(len(texts) / ours.documents))


def test_skip_grams_are_those_of_the_papers_example():
    """Guthrie et al. 2006, section 2: the 2-skip-bi-grams and 2-skip-tri-grams of their sentence."""
    sentence = "Insurgents killed in ongoing fighting"
    pairs = {
        "insurgents killed", "insurgents in", "insurgents ongoing", "killed in", "killed ongoing", "killed fighting",
        "in ongoing", "in fighting", "ongoing fighting",
    }  # fmt: skip
    triples = {
        "insurgents killed in", "insurgents killed ongoing", "insurgents killed fighting", "insurgents in ongoing",
        "insurgents in fighting", "insurgents ongoing fighting", "killed in ongoing", "killed in fighting",
        "killed ongoing fighting", "in ongoing fighting",
    }  # fmt: skip
    single = set(plain_words(sentence))
    assert set(Vocabulary.from_texts([sentence], ngrams=2, skip=2).entries) == single | pairs
    assert set(Vocabulary.from_texts([sentence], ngrams=3, skip=2).entries) == single | pairs | triples


def test_skip_grams_stay_inside_a_text_and_count_each_way_to_them():
    texts = ["a b a b", "c", "a"]
    vocabulary = Vocabulary.from_texts(texts, ngrams=2, skip=1)
    counted = Counter(
        f"{words[i]} {words[j]}"
        for words in map(plain_words, texts)
        for i, j in itertools.combinations(range(len(words)), 2)
        if j - i <= 2
    )
    found = {e: int(c) for e, c in zip(vocabulary.entries, vocabulary.counts) if " " in e}
    assert found == counted


def test_most_frequent_first_and_equal_ones_by_name_at_the_border():
    texts = ["b b b a a c c d"]
    assert Vocabulary.from_texts(texts).entries == ("b", "a", "c", "d")
    assert Vocabulary.from_texts(texts, max_size=2).entries == ("b", "a")
    assert Vocabulary.from_texts(texts, min_count=2).entries == ("b", "a", "c")
    assert Vocabulary.from_texts(["c c a a b"], max_size=1).entries == ("a",)


def test_what_is_not_known_is_not_counted_nor_part_of_a_sequence():
    vocabulary = Vocabulary.from_texts(["red car red car", "red car"], ngrams=2, min_count=2)
    assert set(vocabulary.entries) == {"red", "car", "red car"}
    bags = vocabulary.bags(["red old car", "", "RED CAR!"]).toarray()
    assert bags[0, vocabulary.ids["red car"]] == 0
    assert bags[0, vocabulary.ids["red"]] == 1
    assert not bags[1].any()
    assert bags[2].tolist() == [1, 1, 1]


def test_of_no_texts_there_are_no_rows():
    vocabulary = Vocabulary.from_texts(["a b"])
    assert vocabulary.bags([]).shape == (0, 2)


@pytest.mark.parametrize("ngrams", [1, 2])
def test_the_state_is_plain_and_gives_the_same_counts(ngrams):
    texts = some_texts()
    vocabulary = Vocabulary.from_texts(texts, ngrams=ngrams, min_count=3)
    again = Vocabulary.from_state(json.loads(json.dumps(vocabulary.state())))
    assert again.state() == vocabulary.state()
    assert (again.bags(texts) != vocabulary.bags(texts)).nnz == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't read_csv(x)!", ["don", "t", "read_csv", "x"]),
        ("Ärger über Öl", ["ärger", "über", "öl"]),
        ("自然言語 and text", ["自然", "然言", "言語", "and", "text"]),
        ("", []),
    ],
)
def test_plain_words(text, expected):
    assert plain_words(text) == expected


@pytest.mark.parametrize(
    "options", [{"min_count": 0}, {"ngrams": 0}, {"max_size": 0}, {"skip": 1}, {"ngrams": 2, "skip": -1}]
)
def test_options_that_make_no_sense(options):
    with pytest.raises(ConfigError):
        Vocabulary.from_texts(["a"], **options)


def test_too_many_words_for_long_sequences():
    with pytest.raises(ConfigError, match="too many for ngrams=12"):
        Vocabulary.from_texts([" ".join(f"w{n}" for n in range(40))], ngrams=12)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no word .of letters or digits. in 0 texts"),
        (["", "🙂 !"], "no word .of letters or digits. in 2 texts"),
        (["a b c"], "min_count"),
    ],
)
def test_nothing_left(texts, message):
    with pytest.raises(DataError, match=message):
        Vocabulary.from_texts(texts, min_count=2)
