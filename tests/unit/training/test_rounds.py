"""Systems that learn in rounds: when what they have learnt is saved."""

import torch
from torch import nn

from brickwork.training import rounds
from brickwork.training.checkpoint import steps_saved
from brickwork.training.config import TrainConfig
from toy_system import toy_data


class Counts(nn.Module):
    """Counts its rounds."""

    def __init__(self):
        super().__init__()
        self.register_buffer("rounds", torch.zeros(1))

    def fit(self, examples, *, start):
        for number in range(start, 6):
            self.rounds += 1
            yield (number + 1) / 6


def saved(tmp_path, monkeypatch, seconds_a_round, **train):
    clock = iter(float(n) for n in range(0, 100_000, seconds_a_round))
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: next(clock))
    rounds.fit_rounds(Counts(), toy_data(), TrainConfig(keep=9, **train), tmp_path, seed=0)
    return steps_saved(tmp_path)


def test_long_rounds_are_saved_and_many_short_ones_are_not(tmp_path, monkeypatch):
    assert saved(tmp_path / "long", monkeypatch, 60) == [1, 2, 3, 4, 5, 6]
    assert saved(tmp_path / "short", monkeypatch, 1) == [6], "at the end"
    assert saved(tmp_path / "asked", monkeypatch, 1, save_every=4) == [4, 6]
    assert saved(tmp_path / "never", monkeypatch, 600, save_every=0) == [6]
