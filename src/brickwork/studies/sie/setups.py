"""The runs that the claims of SIE compare: the same data, encoder, steps and optimiser for every arm."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.core.seeding import seed_everything
from brickwork.studies.bench import Trained, changed
from brickwork.studies.study import Lab
from brickwork.systems.sie.data import Data, examples

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

VICREG: dict[str, Any] = {"predictor": "none", "split": 0.0}
SIMCLR: dict[str, Any] = {**VICREG, "criterion": "simclr"}
ARMS: dict[str, dict[str, Any]] = {
    "SIE": {},
    "VICReg": VICREG,
    "SimCLR": SIMCLR,
    "AugSelf": {**SIMCLR, "regression": 1.0},
    "EquiMod": {"criterion": "simclr", "predictor": "mlp", "split": 0.0, "equivariance": 1.0},
}
"""What each method changes in SIE's configuration."""


def a_run(lab: Lab) -> "RunConfig":
    """Digits turned by up to 90 degrees and an MLP; or rendered objects and a residual network (2 million products)."""
    from brickwork.systems.sie.recipes import small, smoke

    if lab.smoke:
        run = smoke()
        return changed(
            run,
            recipe="claims: digits",
            model={"projector": (64, 64), "covariance": None},
            data={"limit": 400, "views": 12, "validation_share": 0.0, "test_share": 0.2},
            train={"steps": 400, "learning_rate": 1e-3},
        )
    run = small()
    return replace(
        run,
        recipe="claims: rendered objects",
        model=changed(run.model, encoder={"width": 8, "shrink": 1}),
        data=Data(objects=50, views=20, image_size=24, validation_share=0.0, test_share=0.2),
        train=replace(run.train, steps=1200, batch_size=64, precision="fp32", validate_every=0, save_every=0),
    )


def coloured(lab: Lab) -> "RunConfig":
    """Rendered objects whose hues the model may be told as well; at smoke, few and tiny ones."""
    run = a_run(lab)
    if not lab.smoke:
        return run
    data = Data(objects=12, views=10, image_size=16, validation_share=0.0, test_share=0.2)
    return replace(run, recipe="claims: tiny rendered objects", data=data)


def shuffled(lab: Lab, run: "RunConfig") -> Callable[[int], Trained]:
    """Seed → the run trained on views whose values belong to others: g says nothing."""
    from brickwork.representation.contract import build_system

    def train(seed: int) -> Trained:
        own = replace(run, seed=seed)
        data = lab.bench.data(own)
        columns = data.train.columns
        order = np.random.default_rng([seed, 4]).permutation(len(data.train))
        images, values, owners = (np.asarray(columns[name]) for name in ("input", "values", "object"))
        other = replace(data, train=examples(images, values[order], owners, None))
        seed_everything(seed)
        system = build_system(own.system, own.model, other, seed)
        lab.bench.systems.add(own.system)
        return replace(lab.bench.fit(system, other.train, own.train, seed), data=data)

    return lambda seed: lab.bench.memo(("shuffled", run.recipe, seed), lambda: train(seed))
