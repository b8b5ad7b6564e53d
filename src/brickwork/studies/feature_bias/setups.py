"""The runs that the claims of feature bias compare."""

from dataclasses import replace
from typing import Any

from brickwork.studies.study import Arms, Lab
from brickwork.systems.feature_bias.recipes import small, smoke
from brickwork.training.config import Stage
from brickwork.training.run import RunConfig


def a_run(lab: Lab, features: tuple[str, ...] = ("majority5", "xor2")) -> RunConfig:
    """Plain SGD on a pair of features."""
    if lab.smoke:
        run = smoke()
        train = replace(run.train, steps=lab.bench.steps(600))
        run = replace(run, train=train)
    else:
        run = small()
    rates = {"parity3": 0.2, "parity4": 0.2}
    rate = rates.get(features[-1], run.train.learning_rate)
    watch = max(1, run.train.steps // 40)
    return replace(
        run,
        model=replace(run.model, features=features, replicas=2, watch=watch),
        train=replace(run.train, learning_rate=rate),
    )


EASY_HARD = ("majority5", "xor2")
"""The pair that has networks with two equal XORs beside it."""


def plain_pairs(lab: Lab) -> Arms:
    """Two pairs of an easy and a hard feature by plain SGD; a parity of three gets twice the steps, or it is not learnt."""
    second = a_run(lab, ("copy", "xor2") if lab.smoke else ("copy", "parity3"))
    second = replace(second, model=replace(second.model, control=False))
    if not lab.smoke:
        second = replace(second, train=longer(second.train, 2))
    return lab.arms({_called(EASY_HARD): a_run(lab, EASY_HARD), _called(second.model.features): second})


def _called(features: tuple[str, ...]) -> str:
    return " + ".join(features)


def adam(train: Any) -> Any:
    """AdamW without decay, as Adam."""
    return replace(train, optimizer="adamw", momentum=0.9, learning_rate=1e-3)


def longer(train: Any, times: int) -> Any:
    return replace(train, steps=train.steps * times)


def alone_first(run: RunConfig, place: int) -> RunConfig:
    """The feature at ``place`` alone for a third of the steps, then all."""
    stages = (Stage(name="first", steps=max(1, run.train.steps // 3)), Stage(name="all"))
    return replace(run, model=replace(run.model, first=place, watch=0), stages=stages)


def in_order(lab: Lab) -> RunConfig:
    run = a_run(lab, ("xor2",) * 4)
    model = replace(
        run.model, network="transformer", widths=None, replicas=2 if lab.smoke else 6, control=False, watch=0
    )
    bits = replace(run.data, bits=8 if lab.smoke else 12)
    train = replace(adam(run.train), steps=run.train.steps if lab.smoke else 3000, batch_size=64)
    return replace(run, model=model, data=bits, train=train)
