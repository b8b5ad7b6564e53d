"""The series of models that the claims compare: methods, and the tasks that come one after another.

A series is trained step by step, each with the same number of examples, updates and parameters of the encoder. The other
methods of the paper's comparison that cannot be built with the system's own options (a learnable classifier, BCT) are put
together in :mod:`brickwork.studies.stationary_compat.series` from its parts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from brickwork.data.types import Examples
from brickwork.evaluation.compatibility import Search
from brickwork.studies.study import Scale
from brickwork.systems.stationary_compat.recipes import smoke
from brickwork.systems.stationary_compat.system import System
from brickwork.training.run import RunConfig

Classes = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Method:
    """How each model of a series comes from the one before.

    ``fresh``: trained from nothing on all classes so far, else fine-tuned on the new ones and a memory of the old.
    ``simplex``: the frozen classifier, else a learnable one that grows. ``hoc``: the loss towards the previous
    model. ``bct``: cross-entropy of old classes under the previous model's classifier, added. ``options``: of the system.
    """

    name: str
    fresh: bool = False
    simplex: bool = False
    hoc: bool = False
    bct: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


INDEPENDENT_LEARNED = Method(name="independent, learnable", fresh=True)
INDEPENDENT_SIMPLEX = Method(name="independent, simplex", fresh=True, simplex=True)
BCT = Method(name="independent, BCT", fresh=True, bct=True)
TUNED_LEARNED = Method(name="fine-tuned, learnable")
TUNED_SIMPLEX = Method(name="fine-tuned, simplex", simplex=True)
HOC = Method(name="fine-tuned, simplex + HOC (zero mask)", simplex=True, hoc=True)
HOC_EXCLUDE = replace(HOC, name="fine-tuned, simplex + HOC (exclude mask)", options={"mask": "exclude"})


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """A sequence of tasks: which classes come at which step, and what the models are searched on.

    ``run``: data, encoder and training of one model. ``tasks``: the classes that are new at each step. ``search``: how
    an entry of the matrix is found. ``memory``: rehearsed examples of a class. ``servers``: step → (classes, share of
    their examples) that the server's model was trained on which takes over there.
    """

    run: RunConfig
    tasks: tuple[Classes, ...]
    search: Search
    memory: int
    servers: Mapping[int, tuple[Classes, float]]

    def seen(self, step: int) -> Classes:
        """The classes of all tasks up to ``step``."""
        return tuple(c for task in self.tasks[: step + 1] for c in task)


def one_more_class(scale: Scale) -> SetUp:
    """Digits (64-256-31, room for 32 classes) or MNIST (784-256-127, room for 128): classes 0–3, then one more a step
    up to 6; 7, 8 and 9 are never trained on ("open set").

    600 steps a model on MNIST: the features of 200 are still on their way to the vertices, whatever the rate.
    """
    run = smoke()
    train = replace(run.train, save_every=0, validate_every=0, steps=100, learning_rate=2e-3)
    data = replace(run.data, test_share=0.4, validation_share=0.15)
    encoder = replace(run.model.encoder, width=256, depth=1)
    memory = 10
    if scale != "smoke":
        train = replace(train, steps=600)
        data = replace(data, source="mnist", limit=8000)
        encoder = replace(encoder, embedding_dim=127)
        memory = 20
    run = replace(run, data=data, train=train, model=replace(run.model, encoder=encoder))
    tasks = ((0, 1, 2, 3), (4,), (5,), (6,))
    return SetUp(run=run, tasks=tasks, search="nearest neighbour", memory=memory, servers={})


def from_nothing(scale: Scale) -> SetUp:
    """The same for models that are each trained from nothing: two and a half times the steps, which they need to reach
    the vertices (on MNIST cross-tests still rose by 10 points from 600 to 1,500 steps)."""
    setup = one_more_class(scale)
    train = setup.run.train
    return replace(setup, run=replace(setup.run, train=replace(train, steps=train.steps * 5 // 2)))


def with_scale(method: Method, scale: float) -> Method:
    """``method`` with a fixed scale of the logits of its simplex; a learnable classifier finds its own."""
    return replace(method, options={**method.options, "logit_scale": scale}) if method.simplex else method


def replacements(scale: Scale) -> SetUp:
    """A client that learns a class at a time on a server's model, which better ones replace.

    Digits: the server's classes are 0–3, first with a tenth of their images, from step 2 on with all; the client
    learns 4 and 5, then 6, 7 and 8. MNIST: 0–2 with a fiftieth, from step 2 on a tenth, from 4 on all of their images;
    3 and 4, then 5 to 9. Searched among all ten classes, by class means.
    """
    tasks: tuple[Classes, ...] = ((4, 5), (6,), (7,), (8,))
    server: Classes = (0, 1, 2, 3)
    shares = {0: 0.1, 2: 1.0}
    if scale != "smoke":
        tasks = ((3, 4), (5,), (6,), (7,), (8,), (9,))
        server = (0, 1, 2)
        shares = {0: 0.02, 2: 0.1, 4: 1.0}
    servers = {step: (server, share) for step, share in shares.items()}
    return replace(one_more_class(scale), tasks=tasks, servers=servers, search="identification")


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
    models: tuple[System, ...]
    searched: Mapping[str, Examples]
