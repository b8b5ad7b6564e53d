"""Windows and counts of neighbours, against enumeration one by one."""

import math
import random
from collections import defaultdict

import numpy as np
import pytest

from brickwork.core.errors import ConfigError, DataError
from brickwork.core.words import plain_words
from brickwork.data import windows as module
from brickwork.data.vocabulary import Vocabulary
from brickwork.data.windows import Tokens, cooccurrence, keep_probabilities, ppmi, windows

TEXTS = ["a b c d e f g", "b", "", "c a b a", "g x f", "x"] * 5


@pytest.fixture
def vocabulary():
    return Vocabulary.from_texts([text.replace("x", "") for text in TEXTS])


def known(vocabulary, text):
    return [vocabulary.ids[w] for w in plain_words(text) if w in vocabulary.ids]


@pytest.mark.parametrize("unknown", ["drop", "keep"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_tokens_are_the_words_of_the_texts(vocabulary, tmp_path, unknown, on_disk):
    file = tmp_path / "tokens" if on_disk else None
    tokens = Tokens.of(vocabulary, iter(TEXTS), unknown=unknown, file=file)
    expected = [
        [vocabulary.ids.get(w, -1) for w in plain_words(text) if unknown == "keep" or w in vocabulary.ids]
        for text in TEXTS
    ]
    starts = [0, *tokens.ends[:-1]]
    assert [tokens.ids[a:b].tolist() for a, b in zip(starts, tokens.ends)] == expected
    assert isinstance(tokens.ids, np.memmap) == on_disk


@pytest.mark.parametrize("block", [5, 2**18])
def test_windows_hold_every_neighbour_once(monkeypatch, vocabulary, block):
    monkeypatch.setattr(module, "_TOKENS", block)
    tokens = Tokens.of(vocabulary, TEXTS)
    found = defaultdict(int)
    for some in windows(tokens, 2, seed=0, shrink=False):
        for centre, slots in zip(some.centres.tolist(), some.contexts.tolist()):
            found[centre, tuple(slots)] += 1
    expected = defaultdict(int)
    for text in TEXTS:
        ids = known(vocabulary, text)
        pieces = [ids] if block > 5 else [ids[i : i + 5] for i in range(0, len(ids), 5)]
        for words in pieces:
            for i, centre in enumerate(words):
                slots = tuple(words[j] if 0 <= j < len(words) else -1 for j in (i - 2, i - 1, i + 1, i + 2))
                if max(slots) >= 0:
                    expected[centre, slots] += 1
    assert found == expected


def test_pairs_are_the_slots_that_are_filled(vocabulary):
    (some,) = windows(Tokens.of(vocabulary, ["a b c"]), 1, seed=0, shrink=False)
    a, b, c = (vocabulary.ids[w] for w in "abc")
    assert sorted(zip(*(x.tolist() for x in some.pairs()))) == sorted([(a, b), (b, a), (b, c), (c, b)])


def test_what_is_not_known_keeps_its_place_and_is_no_centre(vocabulary):
    tokens = Tokens.of(vocabulary, ["a x b"], unknown="keep")
    assert not [w for w in windows(tokens, 1, seed=0, shrink=False) if len(w.centres)]
    (some,) = windows(tokens, 2, seed=0, shrink=False)
    assert sorted(some.centres.tolist()) == sorted(known(vocabulary, "a b"))


def long_text(count=60_000, words=50):
    draw = random.Random(3)
    return " ".join(
        draw.choices([f"w{n}" for n in range(words)], [1 / (n + 1) for n in range(words)], k=count)
    )


def test_each_reach_is_as_likely_and_frequent_words_are_thinned_out():
    text = long_text()
    vocabulary = Vocabulary.from_texts([text])
    tokens = Tokens.of(vocabulary, [text])
    right = np.concatenate([w.contexts[:, 5:] >= 0 for w in windows(tokens, 5, seed=1)])
    # P(reach ≥ k) = (6 − k)/5
    np.testing.assert_allclose(right.mean(0), [1.0, 0.8, 0.6, 0.4, 0.2], atol=0.01)
    keep = keep_probabilities(vocabulary.counts, 1e-2)
    centres = np.concatenate([w.centres for w in windows(tokens, 5, seed=1, keep=keep)])
    kept = np.bincount(centres, minlength=len(vocabulary)) / vocabulary.counts
    sd = np.sqrt(keep * (1 - keep) / vocabulary.counts)
    assert (np.abs(kept - keep) <= 4.5 * sd + 1e-3).all()


def test_draws_are_a_function_of_seed_epoch_and_place():
    text = long_text(3000)
    vocabulary = Vocabulary.from_texts([text])
    tokens = Tokens.of(vocabulary, [text])

    def drawn(**options):
        return np.concatenate(
            [np.column_stack([w.centres, w.contexts]) for w in windows(tokens, 3, **options)]
        )

    same = drawn(seed=4, epoch=1)
    assert (drawn(seed=4, epoch=1) == same).all()
    assert drawn(seed=4, epoch=2).shape != same.shape or (drawn(seed=4, epoch=2) != same).any()
    assert drawn(seed=5, epoch=1).shape != same.shape or (drawn(seed=5, epoch=1) != same).any()


def test_probabilities_of_staying():
    """By hand: shares .9, .09, .01 with t = .01: √(t/f) + t/f, at most 1."""
    expected = [math.sqrt(0.01 / 0.9) + 0.01 / 0.9, math.sqrt(1 / 9) + 1 / 9, 1.0]
    np.testing.assert_allclose(keep_probabilities(np.array([900, 90, 10]), 1e-2), expected)
    assert (keep_probabilities(np.array([900, 90, 10]), 0.0) == 1).all()


@pytest.mark.parametrize("harmonic", [True, False])
def test_neighbours_are_counted_both_ways(monkeypatch, vocabulary, harmonic):
    monkeypatch.setattr(module, "_PENDING", 20)
    expected = np.zeros((len(vocabulary),) * 2)
    for text in TEXTS:
        ids = known(vocabulary, text)
        for i in range(len(ids)):
            for j in range(len(ids)):
                if 0 < abs(i - j) <= 3:
                    expected[ids[i], ids[j]] += 1 / abs(i - j) if harmonic else 1
    found = cooccurrence(Tokens.of(vocabulary, TEXTS), 3, len(vocabulary), harmonic=harmonic)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-6)


@pytest.mark.parametrize(("smoothing", "shift"), [(1.0, 1.0), (0.75, 1.0), (0.75, 5.0)])
def test_ppmi_by_its_formula(vocabulary, smoothing, shift):
    counts = cooccurrence(Tokens.of(vocabulary, TEXTS), 3, len(vocabulary))
    n = counts.toarray().astype(float)
    p = n.sum(0) ** smoothing / (n.sum(0) ** smoothing).sum()
    with np.errstate(divide="ignore"):
        expected = np.maximum(0, np.log(n / (n.sum(1)[:, None] * p)) - np.log(shift))
    np.testing.assert_allclose(ppmi(counts, smoothing=smoothing, shift=shift).toarray(), expected, atol=1e-5)


def test_no_word_is_known(vocabulary, tmp_path):
    with pytest.raises(DataError, match="no word of the texts"):
        Tokens.of(vocabulary, ["x y"], file=tmp_path / "tokens")


def test_windows_of_nothing(vocabulary):
    tokens = Tokens.of(vocabulary, TEXTS)
    with pytest.raises(ConfigError, match="at least 1"):
        list(windows(tokens, 0, seed=0))
    with pytest.raises(ConfigError, match="at least 1"):
        cooccurrence(tokens, 0, 5)


def test_sequences_are_no_words():
    with pytest.raises(ConfigError, match="ngrams=1"):
        Tokens.of(Vocabulary.from_texts(["a b"], ngrams=2), ["a b"])
