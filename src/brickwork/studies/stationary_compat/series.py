"""Training of a series of models, every one of them on the bench.

The learning rate is chosen for each method from the same three by how well the models of a pilot series classify validation
examples of the classes that they were trained on, with their own classifiers: that is what each method is trained for, and
it does not look at compatibility.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickwork.studies.bench import FACTORS, PILOT_SEED, Bench, Trained
from brickwork.studies.stationary_compat.measures import classes_of, own_accuracy
from brickwork.studies.stationary_compat.setups import Method, Series, SetUp
from brickwork.studies.study import Lab

if TYPE_CHECKING:
    import numpy as np

    from brickwork.data.types import Examples, TaskData
    from brickwork.encoders.image import ImageEncoder
    from brickwork.systems.stationary_compat.system import System


def series(
    lab: Lab, setup: SetUp, method: Method, *, like: tuple[SetUp, Method] | None = None
) -> Callable[[int], Trained]:
    """Seed → the :class:`Series` of ``method``, at the learning rate that suits it, or that suits ``like``."""

    def at(factor: float, setup: SetUp, method: Method, seed: int) -> Trained:
        key = ("series", repr(setup), repr(method), factor, seed)
        return lab.bench.memo(key, lambda: _train(lab.bench, setup, method, seed, factor))

    tuned_on = like or (setup, method)
    factor = lab.bench.best(
        ("series", repr(tuned_on)), FACTORS, lambda factor: own_accuracy(at(factor, *tuned_on, PILOT_SEED))
    )
    return lambda seed: at(factor, setup, method, seed)


def _train(bench: Bench, setup: SetUp, method: Method, seed: int, factor: float) -> Trained:
    from brickwork.core.seeding import generator_for

    bench.progress(f"{method.name}: {len(setup.tasks)} models, seed {seed}, learning rate × {factor:g}")
    data = bench.data(setup.run)
    models: list[System] = []
    costs: list[Trained] = []
    for step in range(len(setup.tasks)):
        started = generator_for(seed, step, "series").initial_seed()
        base = models[-1] if models else None
        if step in setup.servers:
            server = _server(bench, setup, method, step, seed, factor)
            base = server.system
            costs.append(server)
        system = _next(setup, method, data, base, models[-1] if models else None, step, started)
        task = setup.tasks[step] if base is not None and not method.fresh else setup.seen(step)
        rows = classes_of(data.train, task)
        costs.append(_fit(bench, system, rows, setup, method, models, factor, started))
        models.append(system)
    return Trained(
        Series(setup, tuple(models), _searched(bench, setup)),
        data,
        seed,
        sum(cost.examples for cost in costs),
        sum(cost.seconds for cost in costs),
        factor * setup.run.train.learning_rate,
        trainings=len(models),
    )


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
        kept = exemplars(classes_of(data.train, old_classes), setup.memory, seed=0)
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


def _server(bench: Bench, setup: SetUp, method: Method, step: int, seed: int, factor: float) -> Trained:
    """The server's model that takes over at ``step``: cross-entropy alone, with the classifier of the method."""
    classes, share = setup.servers[step]
    data = bench.data(setup.run)
    rows = classes_of(data.train, classes)
    rows = rows.select(range(0, len(rows), round(1 / share)))
    alone = replace(setup, tasks=(classes,), servers={})
    plain = Method(name="server", fresh=True, simplex=method.simplex, logit_scale=method.logit_scale)

    def make() -> Trained:
        from brickwork.core.seeding import generator_for

        started = generator_for(seed, step, "server").initial_seed()
        system = _next(alone, plain, data, None, None, 0, started)
        return _fit(bench, system, rows, setup, plain, [], factor, started)

    return bench.memo(("server", repr(setup), repr(plain), step, seed, factor), make)


def _fit(
    bench: Bench,
    system: "System",
    rows: "Examples",
    setup: SetUp,
    method: Method,
    models: "Sequence[System]",
    factor: float,
    seed: int,
) -> Trained:
    """Trains in place. With a memory, half of each batch comes from there."""
    from brickwork.studies.stationary_compat.influence import Influenced

    half = system.memory is not None
    full = min(setup.run.train.batch_size, 2 * len(rows) if half else len(rows))
    config = replace(
        setup.run.train,
        batch_size=full // 2 if half else full,
        learning_rate=factor * setup.run.train.learning_rate,
    )
    influenced = Influenced(system, models[-1].classifier) if method.bct and models else system
    trained = bench.fit(influenced, rows, config, seed)
    return replace(trained, system=system, examples=trained.examples // config.batch_size * full)


def _encoder(setup: SetUp, data: "TaskData") -> "ImageEncoder":
    import numpy as np

    from brickwork.encoders.image import ImageEncoder

    height, width, channels = np.asarray(data.train.columns["input"]).shape[1:]
    return ImageEncoder(setup.run.model.encoder, (height, width, channels))


def _slots(registry: Any, data: "TaskData") -> "np.ndarray":
    """The slot of each class number; of a class that is not trained on, one that there is not."""
    import numpy as np

    return np.array([registry.taken.get(str(c), -1) for c in range(data.num_classes or 0)], dtype=np.int64)


def _searched(bench: Bench, setup: SetUp) -> "dict[str, Examples]":
    data = bench.data(setup.run)
    if setup.run.data.source == "omniglot_small":
        from brickwork.data.sets.images import load_images

        novel = bench.memo("novel", lambda: load_images("omniglot_small", "novel"))
        return {"open set": novel}  # the drawers of each character in turn
    trained = {c for task in setup.tasks for c in task} | {c for cs, _ in setup.servers.values() for c in cs}
    unseen = sorted(set(range(data.num_classes or 0)) - trained)
    everything = {"all classes": data.test}
    return {"open set": classes_of(data.test, unseen), **everything} if len(unseen) > 1 else everything
