"""No dead option: each field of :class:`TrainConfig`, changed alone, changes what a small training does."""

from dataclasses import fields, replace

import pytest
import torch

from brickwork.core.config import override
from brickwork.core.errors import ConfigError
from brickwork.training.checkpoint import steps_saved
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

BASE = TrainConfig(
    steps=6,
    batch_size=8,
    learning_rate=0.02,
    optimizer="sgd",
    precision="fp32",
    device="cpu",
    clip_norm=0.05,
    save_every=2,
    validate_every=3,
    log_every=2,
    threads=1,
)
CHANGED = {
    "steps": 5,
    "batch_size": 6,
    "accumulate": 2,
    "cache_chunk": 4,
    "learning_rate": 0.03,
    "weight_decay": 0.5,
    "optimizer": "adamw",
    "momentum": 0.5,
    "warmup": 0.5,
    "schedule": "linear",
    "clip_norm": 0.0,
    "precision": "bf16",
    "save_every": 3,
    "keep": 1,
    "validate_every": 2,
    "log_every": 3,
    "device": "cuda",
    "deterministic": True,
    "threads": 2,
}


class Observed(Toy):
    """Notes in which surroundings it computes."""

    def __init__(self):
        super().__init__()
        self.seen = set()
        self.rows = []

    def embed(self, batch):
        self.seen.add((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        self.rows.append(len(batch["anchor"]))
        return super().embed(batch)


def observed(config, folder):
    """Everything that a training does which an option may change; an error is an observation as well."""
    system, validated = Observed(), []
    threads = torch.get_num_threads()
    try:
        result = fit(
            system,
            toy_data(),
            config,
            folder,
            seed=0,
            validate=lambda system: {"calls": float(validated.append(len(system.rows)) or len(validated))},
        )
    except ConfigError as error:
        return str(error)
    finally:
        torch.set_num_threads(threads)
    return {
        "losses": result.losses,
        "weights": [p.tolist() for p in system.parameters()],
        "surroundings": system.seen,
        "rows": system.rows,
        "validated": validated,
        "logged": (folder / "metrics.jsonl").read_text().count('"loss"'),
        "saved": steps_saved(folder),
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return observed(BASE, tmp_path_factory.mktemp("base") / "run")


def test_every_option_is_tried():
    assert set(CHANGED) == {field.name for field in fields(TrainConfig)}


def test_the_same_options_give_the_same(base, tmp_path):
    assert observed(BASE, tmp_path / "run") == base


def test_momentum_without_effect_is_refused():
    assert override(BASE, ["momentum=0.3"]).momentum == 0.3
    with pytest.raises(ConfigError, match=r"momentum=0\.3 has no effect with optimizer=adamw"):
        override(BASE, ["momentum=0.3", "optimizer=adamw"])


@pytest.mark.parametrize("name", CHANGED)
def test_option_has_an_effect(name, base, tmp_path):
    if name == "device" and torch.cuda.is_available():
        pytest.skip("there is a GPU here, on which the losses of six tiny steps may be the same")
    assert observed(replace(BASE, **{name: CHANGED[name]}), tmp_path / "run") != base
