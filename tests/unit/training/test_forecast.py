"""The dry run: counts by hand, and nothing on disk."""

import pytest
import torch

from brickwork.core.errors import ConfigError
from brickwork.core.types import TokenBatch
from brickwork.training.config import TrainConfig
from brickwork.training.forecast import forecast, shapes
from toy_system import Toy, toy_data


def test_counts_shapes_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    system = Toy()
    system.first.requires_grad_(False)
    config = TrainConfig(steps=50, batch_size=8, accumulate=2, precision="fp32", device="cpu")
    results = forecast(system, toy_data(), config, seed=0)
    assert results["batch"] == {"anchor": "8 × 8 float32", "positive": "8 × 8 float32", "indices": "8 values"}
    assert (
        results["trainable"] if "trainable" in results else results["parameters"]["trainable"]
    ) == 16 * 4 + 4 + 1
    parts = results["parameters"]["parts"]
    assert parts == {
        "first": {"trainable": 0, "frozen": 8 * 16 + 16},
        "second": {"trainable": 16 * 4 + 4, "frozen": 0},
    }
    assert results["epochs"] == 50 * 16 / 40
    assert results["forecast_seconds"] == pytest.approx(50 * results["seconds_per_step"])
    assert results["peak_memory_bytes"] > 50e6, "a process with torch holds more than 50 MB"
    assert len(results["losses"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_packed_texts_are_described():
    tokens = TokenBatch.from_lists([[1, 2, 3], [4]])
    assert shapes({"anchor": tokens, "label": torch.zeros(2, dtype=torch.int64), "step": 3}) == {
        "anchor": "2 texts, 4 tokens, longest 3",
        "label": "2 int64",
    }


def test_it_refuses_what_training_would():
    with pytest.raises(ConfigError, match="larger than the training data"):
        forecast(Toy(), toy_data(), TrainConfig(batch_size=41), seed=0)
