"""embedding-survey: tests of bias by enumeration and in closed form, debiasing, and both on the command line's way."""

from itertools import permutations

import numpy as np
import pytest

import brickwork
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.core.errors import DataError
from brickwork.representation.vectors import WordVectors
from brickwork.systems.embedding_survey import bias
from brickwork.systems.embedding_survey.audit import BEFORE, HARD, audit
from brickwork.systems.embedding_survey.data import word_lists


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_weat_is_that_of_all_orders_of_the_words():
    """Caliskan et al. 2017, word by word, and p over all 8! orders of 4 + 4 targets."""
    rng = np.random.default_rng(0)
    x, y, a, b = (rng.normal(size=(n, 6)) + shift for n, shift in ((4, 0.4), (4, 0.0), (3, 0.5), (5, 0.0)))
    found = bias.weat(x, y, a, b)
    s = [np.mean([cosine(w, v) for v in a]) - np.mean([cosine(w, v) for v in b]) for w in (*x, *y)]
    effect = (np.mean(s[:4]) - np.mean(s[4:])) / np.std(s)
    observed = sum(s[:4]) - sum(s[4:])
    orders = [sum(o[:4]) - sum(o[4:]) for o in permutations(s)]
    assert found.effect == pytest.approx(effect)
    assert found.difference == pytest.approx(np.mean(s[:4]) - np.mean(s[4:]))
    assert found.p == pytest.approx(np.mean(np.array(orders) >= observed - 1e-9))
    assert found.exact
    assert found.low < found.effect < found.high


def test_what_a_direction_was_taken_out_of_has_no_effect():
    """Words at right angles to the difference of both sides: what is left is rounding in float32."""
    rng = np.random.default_rng(0)
    side = rng.normal(size=6)
    a, b = np.stack([side, side]), np.stack([-side, -side])
    words = rng.normal(size=(8, 6))
    words -= np.outer(words @ side, side) / (side @ side)
    x, y = np.split(words.astype(np.float32), 2)
    assert np.abs(bias.associations(x, a, b)).max() > 0
    found = bias.weat(x, y, a, b)
    assert (found.effect, found.low, found.high) == (0, 0, 0)


def test_p_of_more_words_is_drawn_and_near_that_of_all():
    rng = np.random.default_rng(1)
    x, y = rng.normal(0.3, 1, 9), rng.normal(0, 1, 9)
    exact, all_of_them = bias._permuted(x, y, 0)
    assert all_of_them  # 48,620 partitions
    both = [np.concatenate([side, side + 1e-9]) for side in (x, y)]
    drawn, all_of_them = bias._permuted(*both, 0)
    assert not all_of_them
    assert 0 < drawn < exact  # of twice as many words with the same means


def test_hard_debiasing_is_that_of_its_paper():
    """Other words have nothing along the direction; pairs are mirror images at equal distance of every other word."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(20, 8))
    pairs = [(0, 1), (2, 3), (4, 5)]
    b = bias.direction(matrix[[0, 2, 4]], matrix[[1, 3, 5]])
    found = bias.hard_debias(matrix, pairs)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(found[6:] @ b, 0, atol=1e-9)
    for one, other in pairs:
        assert found[one] @ b == pytest.approx(-(found[other] @ b))
        np.testing.assert_allclose(found[6:] @ found[one], found[6:] @ found[other], atol=1e-9)
        assert np.sign(found[one] @ b) == np.sign((bias.unit(matrix)[one] - bias.unit(matrix)[other]) @ b)


def test_inlp_leaves_nothing_to_a_linear_classifier_but_hard_debiasing_does():
    """A bias in three directions of which the pairs show one (Gonen & Goldberg 2019)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    rng = np.random.default_rng(0)
    sides = [0] * 150 + [1] * 150
    side = np.array(sides)
    matrix = rng.normal(size=(300, 20)) * 0.5
    matrix[:, :3] += 2.0 * (side[:, None] - 0.5)
    ends = np.zeros((2, 20))
    ends[:, 0] = 1.0, -1.0
    every = np.concatenate([matrix, ends])
    hard = bias.hard_debias(every, [(300, 301)])[:300]
    clean = bias.inlp(every, range(300), sides)[:300]
    accuracy = [cross_val_score(LogisticRegression(), m, side, cv=5).mean() for m in (hard, clean)]
    assert accuracy[0] > 0.9
    assert accuracy[1] < 0.6
    assert bias.recovered(every, range(300), sides) > 0.9 > 0.65 > bias.recovered(clean, range(300), sides)


LISTS = """test,set,word
jobs,target x,nurse
jobs,target x,teacher
jobs,target y,engineer
jobs,target y,driver
jobs,attribute a,she
jobs,attribute a,her
jobs,attribute b,he
jobs,attribute b,his
"""


@pytest.fixture
def lists(tmp_path):
    path = tmp_path / "bias.csv"
    path.write_text(LISTS)
    return path


def _biased_texts(path, ratio=6):
    """Jobs that are said to do what one side does ``ratio`` times as often as what the other does."""
    deeds = {"a": ("sews", "dances", "sings"), "b": ("digs", "fights", "builds")}
    words = {"a": ("she", "her", "nurse", "teacher"), "b": ("he", "his", "engineer", "driver")}
    rows = []
    for own, other in ("ab", "ba"):
        for place, word in enumerate(words[own]):
            times = {own: ratio, other: 1 if place > 1 else 0}
            rows += [
                f"{word} {deed} {when}"
                for side, count in times.items()
                for deed in deeds[side]
                for when in [f"today{n}" for n in range(count)]
            ]
    path.write_text("text\n" + "\n".join(rows) + "\n")
    return path


def _train(tmp_path, *options):
    run = api.recipe("embedding-survey", "small")
    source = _biased_texts(tmp_path / "texts.csv")
    given = [f"data.source={source}", "model.method=ppmi-svd", "model.dimensions=6", "model.min_count=1"]
    return brickwork.train(brickwork.override(run, [*given, *options]), tmp_path / "run")


def test_a_run_is_tested_for_bias_and_debiased(tmp_path, lists):
    before = _train(tmp_path).system.word_vectors()
    page = predict_api.inspect(tmp_path / "run", lists)
    text = page.read_text()
    assert "jobs, as they are" in text
    assert "jobs, hard debiasing" in text
    columns = {
        "test": ["jobs"] * 8,
        "set": [role for role in bias.ROLES for _ in range(2)],
        "word": [line.rpartition(",")[2] for line in LISTS.splitlines()[1:]],
    }
    found = audit(before, columns)
    assert found.effects["jobs"][BEFORE].effect > 1
    (tmp_path / "run").rename(tmp_path / "first")
    after = _train(tmp_path, "model.debias=hard", f"data.word_lists={lists}").system.word_vectors()
    wanted = bias.hard_debias(
        before.matrix, [(before.places[a], before.places[b]) for a, b in (("she", "he"), ("her", "his"))]
    )
    np.testing.assert_allclose(after.matrix, wanted, atol=1e-5)
    sets = [after.matrix[[after.places[w] for w in columns["word"][i : i + 2]]] for i in (0, 2, 4, 6)]
    assert abs(bias.weat(*sets).difference) < 0.1 * found.effects["jobs"][BEFORE].difference
    assert found.effects["jobs"][HARD].difference == pytest.approx(bias.weat(*sets).difference, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("set", "kind"), "no column 'set'"),
        (lambda text: text.replace("target y", "targets"), "row 3.*'targets' is none of"),
        (lambda text: text.replace("nurse", ""), "row 1.*'word' is empty"),
        (lambda text: text.splitlines()[0] + "\n", "no row"),
    ],
)
def test_wrong_lists_of_words_are_told(lists, change, words):
    lists.write_text(change(LISTS))
    with pytest.raises(DataError, match=words):
        word_lists(lists)


def test_words_without_vectors_are_told():
    vectors = WordVectors(("she", "he"), np.eye(2, dtype=np.float32))
    columns = {"test": ["t"] * 2, "set": ["target x", "target y"], "word": ["nurse", "driver"]}
    with pytest.raises(DataError, match="at least two words"):
        audit(vectors, columns)
    with pytest.raises(DataError, match="2 words of 'attribute a' and 1 of"):
        bias.defining_pairs({("t", "attribute a"): ["she", "her"], ("t", "attribute b"): ["he"]})
