"""Long-tail few-shot accuracy against cases worked out by hand."""

import numpy as np
import pytest

from brickwork.studies.matryoshka.long_tail import few_shot_accuracy, long_tail_accuracy, long_tail_shots


def test_shots_fall_from_twenty_to_one():
    shots = long_tail_shots(40)
    assert (shots[0], shots[-1]) == (20, 1)
    assert (np.diff(shots) <= 0).all()


def test_separable_classes_are_all_right_and_noise_is_chance():
    labels = np.repeat(np.arange(50), 30)
    separable = np.eye(50, dtype=np.float32)[labels]
    score = long_tail_accuracy(separable, labels, num_classes=40, draws=2, seed=0)
    assert (score.head, score.tail) == (1.0, 1.0)
    noise = np.random.default_rng(0).standard_normal((1500, 50)).astype(np.float32)
    chance = long_tail_accuracy(noise, labels, num_classes=40, draws=5, seed=0)
    # 5 draws × about 200 queries each of two parts, p = 1/40: five standard errors are about 0.025.
    assert chance.tail == pytest.approx(1 / 40, abs=0.025)


def test_too_few_classes_are_refused():
    with pytest.raises(ValueError, match="40 classes"):
        long_tail_accuracy(np.ones((100, 2)), np.repeat(np.arange(5), 20), num_classes=40, draws=1, seed=0)


def test_few_shots_of_separable_classes_and_of_noise():
    """Separable: all right. Noise: chance, 1/20; 10 draws × 500 queries give a standard error of about 0.003."""
    labels = np.repeat(np.arange(30), 30)
    separable = np.eye(30, dtype=np.float32)[labels]
    assert few_shot_accuracy(separable, labels, ways=20, shots=1, draws=2, seed=0) == 1.0
    noise = np.random.default_rng(0).standard_normal((900, 30)).astype(np.float32)
    assert few_shot_accuracy(noise, labels, ways=20, shots=5, draws=10, seed=0) == pytest.approx(
        0.05, abs=0.016
    )
    with pytest.raises(ValueError, match="20 classes of 31"):
        few_shot_accuracy(separable, labels, ways=20, shots=30, draws=1, seed=0)
