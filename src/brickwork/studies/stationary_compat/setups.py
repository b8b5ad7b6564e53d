"""The series of models that the claims compare: methods, and the tasks that come one after another.

A series is trained step by step, each with the same number of examples, updates and parameters of the encoder. The other
methods of the paper's comparison that cannot be built with the system's own options (a learnable classifier, BCT) are put
together in :mod:`brickwork.studies.stationary_compat.series` from its parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from brickwork.studies.study import Scale

if TYPE_CHECKING:
    from brickwork.data.types import Examples
    from brickwork.evaluation.compatibility import Search
    from brickwork.systems.stationary_compat.system import System
    from brickwork.training.run import RunConfig


@dataclass(frozen=True, kw_only=True)
class Method:
    """How each model of a series comes from the one before.

    ``fresh``: trained from nothing on all classes so far, else fine-tuned on the new ones and a memory of the old.
    ``simplex``: the frozen classifier, else a learnable one that grows. ``hoc``: the loss towards the previous
    model. ``bct``: cross-entropy of old classes under the previous model's classifier, added.
    """

    name: str
    fresh: bool
    simplex: bool
    hoc: bool = False
    bct: bool = False
    mask: Literal["zero", "exclude"] = "zero"
    ce_weight: float = 0.1
    hoc_scale: float = 10.0
    logit_scale: float = 1.0


INDEPENDENT_LEARNED = Method(name="independent, learnable", fresh=True, simplex=False)
INDEPENDENT_SIMPLEX = Method(name="independent, simplex", fresh=True, simplex=True)
BCT = Method(name="independent, BCT", fresh=True, simplex=False, bct=True)
TUNED_LEARNED = Method(name="fine-tuned, learnable", fresh=False, simplex=False)
TUNED_SIMPLEX = Method(name="fine-tuned, simplex", fresh=False, simplex=True)
HOC = Method(name="fine-tuned, simplex + HOC (zero mask)", fresh=False, simplex=True, hoc=True)
HOC_EXCLUDE = replace(HOC, name="fine-tuned, simplex + HOC (exclude mask)", mask="exclude")


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """A sequence of tasks: which classes come at which step, and what the models are searched on.

    ``run``: data, encoder and training of one model. ``tasks``: the classes that are new at each step. ``search``: how
    an entry of the matrix is found. ``memory``: rehearsed examples of a class. ``servers``: step → (classes, share of
    their examples) that the server's model was trained on which takes over there.
    """

    run: "RunConfig"
    tasks: tuple[tuple[int, ...], ...]
    search: "Search"
    memory: int
    servers: "Mapping[int, tuple[tuple[int, ...], float]]"

    def seen(self, step: int) -> tuple[int, ...]:
        """The classes of all tasks up to ``step``."""
        return tuple(c for task in self.tasks[: step + 1] for c in task)


def one_more_class(scale: Scale) -> SetUp:
    """Digits (64-256-31, room for 32 classes) or MNIST (784-256-127, room for 128): classes 0–3, then one more a step
    up to 6; 7, 8 and 9 are never trained on ("open set"). Width, depth, steps and the middle learning rate are those
    with the best self-tests of the independent, learnable models among a few that were tried.
    """
    from brickwork.systems.stationary_compat.recipes import smoke

    run = smoke()
    train = replace(run.train, save_every=0, validate_every=0, steps=100, learning_rate=2e-3)
    data = replace(run.data, test_share=0.4, validation_share=0.15)
    encoder = replace(run.model.encoder, width=256, depth=1)
    if scale != "smoke":
        train = replace(train, steps=200)
        data = replace(data, source="mnist", limit=8000)
        encoder = replace(encoder, embedding_dim=127)
    return SetUp(
        run=replace(run, data=data, train=train, model=replace(run.model, encoder=encoder)),
        tasks=((0, 1, 2, 3), (4,), (5,), (6,)),
        search="nearest neighbour",
        memory=10 if scale == "smoke" else 20,
        servers={},
    )


def replacements(scale: Scale) -> SetUp:
    """A client that learns a class at a time on a server's model, which better ones replace.

    Digits: the server's classes are 0–3, first with a tenth of their images, from step 2 on with all; the client
    learns 4 and 5, then 6, 7 and 8. MNIST: 0–2 with a fiftieth, from step 2 on a tenth, from 4 on all of their images;
    3 and 4, then 5 to 9. Searched among all ten classes, by class means.
    """
    setup = replace(one_more_class(scale), search="identification")
    server: tuple[int, ...] = (0, 1, 2, 3)
    if scale == "smoke":
        return replace(setup, tasks=((4, 5), (6,), (7,), (8,)), servers={0: (server, 0.1), 2: (server, 1.0)})
    server = (0, 1, 2)
    return replace(
        setup,
        tasks=((3, 4), (5,), (6,), (7,), (8,), (9,)),
        servers={0: (server, 0.02), 2: (server, 0.1), 4: (server, 1.0)},
    )


def characters() -> SetUp:
    """The same on Omniglot (18 × 18, 256-255): server's models of 30, 60 and 120 characters (steps 0, 2, 4), a client
    with 10 + 6 × 8 others, searched among the characters of two alphabets that nobody trained on."""
    setup = one_more_class("smoke")
    run = setup.run
    run = replace(
        run,
        data=replace(run.data, source="omniglot_small"),
        model=replace(run.model, encoder=replace(run.model.encoder, embedding_dim=255, shrink=2)),
        train=replace(run.train, steps=300),
    )
    tasks = (tuple(range(120, 130)), *(tuple(range(start, start + 8)) for start in range(130, 178, 8)))
    servers = {step: (tuple(range(count)), 1.0) for step, count in ((0, 30), (2, 60), (4, 120))}
    return replace(setup, run=run, tasks=tasks, servers=servers, search="identification", memory=20)


@dataclass(frozen=True)
class Series:
    """The models of a series, oldest first, and by name what they are searched on: even rows are the gallery, odd ones the
    queries."""

    setup: SetUp
    models: "tuple[System, ...]"
    searched: "Mapping[str, Examples]"
