"""The series of models that the claims compare, and how they are read.

A series is trained step by step, each with the same number of examples, updates and parameters of the encoder. The
learning rate is chosen for each method from the same three (:data:`RATES`) by how well the models of a pilot series
classify validation examples of the classes that they were trained on, with their own classifiers: that is what each
method is trained for, and it does not look at compatibility. The other methods of the paper's comparison that cannot be
built with the system's own options (a learnable classifier, BCT) are put together here from its parts.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from brickwork.studies.old import ArmCost, Scale, Workbench

if TYPE_CHECKING:
    import numpy as np

    from brickwork.data.types import Examples, TaskData
    from brickwork.encoders.image import ImageEncoder
    from brickwork.evaluation.compatibility import CompatibilityMatrix, Search
    from brickwork.systems.stationary_compat.system import System
    from brickwork.training.run import RunConfig

RATES = (1.0, 0.5, 2.0)
PILOT_SEED = 0


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
    """The models of a series, oldest first, and what they cost."""

    models: "tuple[System, ...]"
    examples: int
    seconds: float
    learning_rate: float


# ---- training --------------------------------------------------------------------------------------------------


def series(
    bench: Workbench, setup: SetUp, method: Method, seed: int, *, like: "tuple[SetUp, Method] | None" = None
) -> Series:
    """The series of ``method``, at the learning rate that suits it, or that suits ``like``."""

    def at(factor: float, setup: SetUp, method: Method, pilot: int) -> Series:
        key = ("series", repr(setup), repr(method), factor, pilot)
        return bench.memo(key, lambda: _train(bench, setup, method, pilot, factor))

    tuned_on = like or (setup, method)

    def score(factor: float) -> float:
        return own_accuracy(bench, tuned_on[0], at(factor, *tuned_on, PILOT_SEED))

    rate = bench.memo(("rate", *map(repr, tuned_on)), lambda: max(RATES, key=score))  # at a tie the first
    return at(rate, setup, method, seed)


def _train(bench: Workbench, setup: SetUp, method: Method, seed: int, factor: float) -> Series:
    from brickwork.core.seeding import generator_for

    bench.progress(f"{method.name}: {len(setup.tasks)} models, seed {seed}, learning rate × {factor:g}")
    data = bench.data(setup.run)
    models: list[System] = []
    seconds, examples = 0.0, 0
    for step in range(len(setup.tasks)):
        started = generator_for(seed, step, "series").initial_seed()
        base = models[-1] if models else None
        if step in setup.servers:
            base, took, count = _server(bench, setup, method, step, seed, factor)
            seconds, examples = seconds + took, examples + count
        system = _next(setup, method, data, base, models[-1] if models else None, step, started)
        fine_tuned = system.memory is not None
        task = setup.tasks[step] if base is not None and not method.fresh else setup.seen(step)
        took, count = _fit(
            bench, system, of(data.train, task), setup, method, models, factor, started, half=fine_tuned
        )
        seconds, examples = seconds + took, examples + count
        models.append(system)
    return Series(tuple(models), examples, seconds, factor * setup.run.train.learning_rate)


def _next(
    setup: SetUp,
    method: Method,
    data: "TaskData",
    base: "System | None",
    previous: "System | None",
    step: int,
    seed: int,
) -> "System":
    """The untrained model of ``step``: fresh, or from ``base`` (the server's model, or the previous one)."""
    import torch

    from brickwork.core.seeding import seed_everything
    from brickwork.data.types import Examples
    from brickwork.modules.simplex import SlotRegistry
    from brickwork.systems.stationary_compat.rehearsal import exemplars
    from brickwork.systems.stationary_compat.system import Config, System

    seed_everything(seed)
    tune = base is not None and not method.fresh
    encoder = copy.deepcopy(base.encoder).requires_grad_(True) if base and tune else _encoder(setup, data)
    classes = setup.seen(step)
    # The server's classes have the slots from the front, so a client gives out those from the back.
    end: Any = "back" if setup.servers and method.simplex else "front"
    registry = SlotRegistry(encoder.embedding_dim + 1, {}).assign(map(str, classes), end)
    old_classes = setup.seen(step - 1) if step else ()
    memory = None
    if tune and old_classes and setup.memory:
        kept = exemplars(of(data.train, old_classes), setup.memory, seed=0)
        slots = [registry.taken[str(label)] for label in kept.columns["label"]]
        memory = Examples({"input": kept.columns["input"], "slot": slots})
    config = Config(
        encoder=setup.run.model.encoder,
        logit_scale=method.logit_scale,
        ce_weight=method.ce_weight,
        hoc_scale=method.hoc_scale,
        mask=method.mask,
    )
    system = System(
        config,
        encoder,
        seed=seed,
        slots=registry.to_dict(),
        classes=[str(label) for label in classes],
        anchor=copy.deepcopy(base.encoder) if base is not None and method.hoc else None,
        memory=memory,
    )
    system.slot_of = torch.from_numpy(_slots(registry, data))
    if not method.simplex:
        classifier = torch.nn.Linear(encoder.embedding_dim, len(classes), bias=False)
        if tune and previous is not None and base is previous:
            with torch.no_grad():
                old: Any = previous.classifier
                classifier.weight[: len(old.weight)] = old.weight
        system.classifier = classifier
    return system


def _server(
    bench: Workbench, setup: SetUp, method: Method, step: int, seed: int, factor: float
) -> "tuple[System, float, int]":
    """The server's model that takes over at ``step``: cross-entropy alone, with the classifier of the method."""
    classes, share = setup.servers[step]
    data = bench.data(setup.run)
    rows = of(data.train, classes)
    rows = rows.select(range(0, len(rows), round(1 / share)))
    alone = replace(setup, tasks=(classes,), servers={})
    plain = Method(name="server", fresh=True, simplex=method.simplex, logit_scale=method.logit_scale)

    def make() -> "tuple[System, float, int]":
        from brickwork.core.seeding import generator_for

        started = generator_for(seed, step, "server").initial_seed()
        system = _next(alone, plain, data, None, None, 0, started)
        return system, *_fit(bench, system, rows, setup, plain, [], factor, started, half=False)

    return bench.memo(("server", repr(setup), repr(plain), step, seed, factor), make)


def _fit(
    bench: Workbench,
    system: "System",
    rows: "Examples",
    setup: SetUp,
    method: Method,
    models: "Sequence[System]",
    factor: float,
    seed: int,
    *,
    half: bool,
) -> tuple[float, int]:
    """Trains in place; returns seconds and examples. ``half``: of each batch, the other half comes from the memory."""
    from brickwork.studies.stationary_compat.influence import Influenced

    full = min(setup.run.train.batch_size, 2 * len(rows) if half else len(rows))
    config = replace(
        setup.run.train,
        batch_size=full // 2 if half else full,
        learning_rate=factor * setup.run.train.learning_rate,
    )
    trained = Influenced(system, models[-1].classifier) if method.bct and models else system
    result = bench.fit(trained, rows, config, seed)
    system.eval()
    return result.seconds, result.step * full


def _encoder(setup: SetUp, data: "TaskData") -> "ImageEncoder":
    import numpy as np

    from brickwork.encoders.image import ImageEncoder

    height, width, channels = np.asarray(data.train.columns["input"]).shape[1:]
    return ImageEncoder(setup.run.model.encoder, (height, width, channels))


def _slots(registry: Any, data: "TaskData") -> "np.ndarray":
    """The slot of each class number; of a class that is not trained on, one that there is not."""
    import numpy as np

    return np.array([registry.taken.get(str(c), -1) for c in range(data.num_classes or 0)], dtype=np.int64)


def of(examples: "Examples", classes: Sequence[int]) -> "Examples":
    """The examples of these classes."""
    from brickwork.systems.stationary_compat.rehearsal import of_classes

    return of_classes(examples, set(classes))


# ---- what is measured ------------------------------------------------------------------------------------------


def searched(bench: Workbench, setup: SetUp) -> "dict[str, Examples]":
    """What the models are searched on: rows 0, 2, 4 … are the gallery, the others the queries."""
    data = bench.data(setup.run)
    if setup.run.data.source == "omniglot_small":
        from brickwork.data.sets.images import load_images

        novel = bench.memo("novel", lambda: load_images("omniglot_small", "novel"))
        return {"open set": novel}  # the drawers of each character in turn
    trained = {c for task in setup.tasks for c in task} | {c for cs, _ in setup.servers.values() for c in cs}
    unseen = sorted(set(range(data.num_classes or 0)) - trained)
    found = {"all classes": data.test}
    return {"open set": of(data.test, unseen), **found} if len(unseen) > 1 else found


def matrices(bench: Workbench, setup: SetUp, found: Series) -> "dict[str, CompatibilityMatrix]":
    """The compatibility matrix of a series on each of :func:`searched`."""
    import numpy as np

    from brickwork.evaluation.compatibility import compatibility_matrix

    made = {}
    for name, examples in searched(bench, setup).items():
        labels = np.asarray(examples.columns["label"], dtype=np.int64)
        vectors = [vectors_of(model, examples) for model in found.models]
        made[name] = compatibility_matrix(
            [x[1::2] for x in vectors],
            labels[1::2],
            [x[::2] for x in vectors],
            labels[::2],
            search=setup.search,
        )
    return made


def own_accuracy(bench: Workbench, setup: SetUp, found: Series) -> float:
    """How well the models of a series classify, with their own classifiers, validation examples of the classes so far."""
    import numpy as np
    import torch

    rights = []
    model: Any
    for step, model in enumerate(found.models):
        rows = of(bench.data(setup.run).validation, setup.seen(step))
        z = model.representation().encode(rows.columns["input"], normalize=False, precision="fp32")
        with torch.no_grad():
            slots = model.classifier(torch.from_numpy(z)).argmax(1)
        labels = torch.from_numpy(np.asarray(rows.columns["label"], dtype=np.int64))
        rights.append((slots == model.slot_of[labels]).float().mean().item())
    return fmean(rights)


def vectors_of(model: Any, examples: "Examples") -> "np.ndarray":
    """Unit vectors in float32."""
    return model.representation().encode(examples.columns["input"], precision="fp32")


def cost(name: str, found: Sequence[Series]) -> ArmCost:
    """What the series of one method cost, over all seeds."""
    return ArmCost(
        name=name,
        trainings=sum(len(s.models) for s in found),
        examples=sum(s.examples for s in found),
        seconds=round(sum(s.seconds for s in found), 2),
        learning_rate=found[0].learning_rate,
    )


def row(matrix: "CompatibilityMatrix", **first: Any) -> dict[str, Any]:
    """The numbers of a matrix as a row of a table."""
    values = {
        "AC": matrix.average_compatibility,
        "AA": matrix.average_accuracy,
        "cross": matrix.mean_cross,
        "self": matrix.mean_self,
        "cross − old self": matrix.mean_gain,
    }
    return {**first, **{name: round(value, 2) for name, value in values.items() if value is not None}}
