"""The battery that every system gets by being registered.

Each system is built from its own ``smoke`` recipe. The recipe's data is made up or comes with a library, so losses do not
depend on what is installed.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batteries import build

from brickwork.api import train as api
from brickwork.core import registry
from brickwork.core.types import Batch, Fits
from brickwork.data.types import TaskData
from brickwork.training.config import shortened
from brickwork.training.loop import FitResult, fit
from brickwork.training.rounds import fit_rounds
from brickwork.training.run import RunConfig, load_data, planned_stages

STEPS = 20


@dataclass
class Case:
    """One system with its smoke run, small enough for a test."""

    slug: str
    run: RunConfig
    data: TaskData

    def fresh(self, seed: int | None = None, **model: Any) -> torch.nn.Module:
        """A newly built system."""
        seed = self.run.seed if seed is None else seed
        return build(self.slug, replace(self.run.model, **model), self.data, seed)

    def fit(
        self,
        system: torch.nn.Module,
        folder: Path,
        *,
        seed: int | None = None,
        resume: bool = False,
        **train: Any,
    ) -> FitResult:
        """The smoke training of a system, with other values of ``train`` where they are given."""
        seed = self.run.seed if seed is None else seed
        if isinstance(system, Fits):
            own = api.recipe(self.slug, "smoke").train  # without what `smoke` sets for the loop
            config = replace(own, **{name: value for name, value in train.items() if name != "steps"})
            return fit_rounds(system, self.data.train, config, folder, seed=seed, resume=resume)
        config = replace(self.run.train, **train)
        parts = {"stages": self.run.stages, "variants": self.data.variants}
        return fit(system, self.data.train, config, folder, seed=seed, resume=resume, **parts)

    def batch(self, system: torch.nn.Module, rows: range | list[int], step: int = 0) -> Batch:
        """Training examples as the loop would hand them over."""
        return {**system.collate(self.data.train.take(list(rows))), "step": step, "indices": list(rows)}

    def inputs(self, rows: range | list[int]) -> Any:
        """Inputs to encode: images, or texts of mixed lengths."""
        columns = self.data.train.take(list(rows))
        return next(columns[name] for name in ("input", "positive", "text") if name in columns)

    def does(self, capability: str) -> bool:
        """Whether the card of the system says so: ``encodes``, ``predicts``, …"""
        return capability in registry.card(self.slug).capabilities

    def needs(self, capability: str) -> None:
        """Skips the test for systems of another kind."""
        if not self.does(capability):
            pytest.skip(f"{self.slug} is no system that {capability}")

    def needs_loss(self) -> None:
        """Skips the test for a system that learns in rounds of its own."""
        if isinstance(self.fresh(), Fits):
            pytest.skip(f"{self.slug} learns in rounds of its own")

    def answers(self, system: torch.nn.Module, rows: range | list[int]) -> dict[str, np.ndarray]:
        """What the system gives for some rows, whatever it does: vectors, predictions, texts, numbers of its own.

        Floating-point numbers stay numbers; all else is compared as text.
        """
        results: dict[str, Any] = {}
        examples = self.data.train.select(list(rows))
        if self.does("encodes"):
            results["vectors"] = system.encode(self.inputs(rows), precision="fp32")
        if self.does("predicts"):
            results |= system.predict(examples.columns)
        if self.does("generates"):
            prompts = [text[:20] for text in self.inputs(rows)]
            results["texts"] = system.generate(prompts, max_tokens=4, temperature=1.0, top_k=0, seed=0)
        if self.does("recommends"):
            results |= system.recommend(list(self.inputs(rows)), count=2)
        if self.does("analyses"):
            tables = system.analyse(examples)
            results |= {f"{name}/{column}": v for name, t in tables.items() for column, v in t.items()}
        if self.does("evaluates"):
            results |= {name: [value] for name, value in system.evaluate(examples).items()}
        arrays = {name: np.asarray(value) for name, value in results.items()}
        return {name: a if a.dtype.kind == "f" else a.astype(str) for name, a in arrays.items()}


def smoke(slug: str) -> RunConfig:
    """The smoke recipe, cut to a few steps in float32 on one CPU thread."""
    run = api.recipe(slug, "smoke")
    short, stages = shortened(run.train, planned_stages(run), STEPS)
    train = replace(short, batch_size=16, precision="fp32", device="cpu", deterministic=True)
    return replace(run, train=train, stages=stages)


@pytest.fixture(scope="session", params=registry.slugs())
def case(request: pytest.FixtureRequest) -> Case:
    """Each system, once for all files of the battery: pytest runs the tests of one system after each other."""
    run = smoke(request.param)
    return Case(request.param, run, load_data(run.system, run.data, run.seed))


@pytest.fixture(scope="session")
def trained(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, FitResult]:
    """The system after the golden run, and that run's result. Tests do not change its weights."""
    system = case.fresh()
    return system, case.fit(system, tmp_path_factory.mktemp("run"))
