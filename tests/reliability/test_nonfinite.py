"""NaN and infinity from every side: training stops before the update, an index names the document (R5)."""

import json
import math

import artifacts
import numpy as np
import pytest
import torch

from brickwork.core.errors import DataError, NonFiniteError
from brickwork.core.types import LossOutput
from brickwork.data.types import Examples
from brickwork.index.local import LocalBackend
from brickwork.index.types import Contents
from brickwork.training.checkpoint import newest_good
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit
from toy_system import Toy, toy_data

CONFIG = TrainConfig(steps=6, batch_size=8, learning_rate=0.02, precision="fp32", device="cpu", save_every=2)
VALUES = (math.nan, math.inf, -math.inf)


class Broken(Toy):
    """At step 3, something is not finite: a term, the gradient of one layer, or the temperature."""

    def __init__(self, where: str, value: float):
        super().__init__()
        self.where, self.value = where, value

    def loss(self, batch):
        out = super().loss(batch)
        if batch["step"] != 3:
            return out
        if self.where == "term":
            terms = {**out.terms, "size": out.terms["size"] * 0 + self.value}
            return LossOutput.of(terms, out.weights)
        if self.where == "gradient":
            bad = self.second.weight.sum() * 0.0
            bad.register_hook(lambda gradient: gradient * self.value)
            return LossOutput.of({**out.terms, "bad": bad}, out.weights)
        with torch.no_grad():
            before = self.log_scale.clone()
            self.log_scale.fill_(self.value)
            out = super().loss(batch)
            self.log_scale.copy_(before)
        return LossOutput.of({"match": out.terms["match"].clone().requires_grad_()}, {}, {})


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("where", ["term", "gradient", "temperature"])
def test_training_stops_before_the_update(tmp_path, where, value, tally):
    system = Broken(where, value)
    if where == "temperature" and value == -math.inf:
        pytest.skip("a temperature without end is a loss like any other")
    with pytest.raises(NonFiniteError, match="is not finite at step 3, rows") as error:
        fit(system, toy_data(), CONFIG, tmp_path / "run", seed=0)
    assert error.value.exit_code == 5
    assert "stopped before the update" in str(error.value)
    assert all(parameter.isfinite().all() for parameter in system.parameters())
    replay = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert replay["step"] == 3
    assert len(replay["indices"]) == 8
    path = newest_good(tmp_path / "run")
    assert path is not None
    assert path.name == "step-00000002"
    tally(
        "R5", f"trainings with a {where} that is not finite: stopped before the update, rows written down", 1
    )


@pytest.mark.parametrize("value", VALUES)
def test_data_that_is_not_finite_is_told_by_its_row(tmp_path, value, tally):
    columns = {name: np.array(column) for name, column in toy_data().columns.items()}
    columns["anchor"][17, 3] = value
    with pytest.raises(NonFiniteError, match=r"rows .*\b17\b"):
        fit(Toy(), Examples(columns), CONFIG, tmp_path, seed=0)
    tally("R5", "rows of data that are not finite: named", 1)


@pytest.mark.parametrize("value", VALUES)
def test_vectors_that_are_not_finite_are_told_by_their_document(tmp_path, value, tally):
    backend = LocalBackend.create(
        tmp_path / "index", Contents(model="m", dims=(4, 8), layers=(1,), depths=(1,))
    )
    documents = artifacts.documents(5)
    vectors = np.eye(5, 8, dtype=np.float32)
    vectors[3, 7] = value
    with pytest.raises(DataError, match="'d3'"):
        backend.add(documents, {1: vectors})
    assert len(backend) == 0
    tally("R5", "vectors that are not finite: refused with the document's name, nothing added", 1)
