"""Training of a series of models, every one of them on the bench.

The learning rate is chosen for each method from the same grid, its best inside, by how well the models of a pilot series
classify validation examples of the classes that they were trained on, with their own classifiers: that is what each method
is trained for, and it does not look at compatibility.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from brickwork.core.seeding import generator_for, seed_everything
from brickwork.data.sets.images import load_images
from brickwork.data.types import Examples, TaskData
from brickwork.modules.simplex import SlotRegistry
from brickwork.representation.contract import build_encoder
from brickwork.studies.bench import Bench, Trained
from brickwork.studies.stationary_compat.influence import Influenced
from brickwork.studies.stationary_compat.measures import own_accuracy
from brickwork.studies.stationary_compat.setups import Method, Series, SetUp
from brickwork.studies.study import Lab
from brickwork.systems.stationary_compat.rehearsal import exemplars, of_classes
from brickwork.systems.stationary_compat.system import System


def series(lab: Lab, setup: SetUp, method: Method) -> Callable[[int], Trained]:
    """Seed → the :class:`Series` of ``method``, at the learning rate that suits it."""

    def train(rate: float, seed: int) -> Trained:
        return Trainer(lab.bench, setup, method, rate, seed).series()

    key = ("series", repr(setup), repr(method))
    return lab.bench.at_its_rate(key, train, own_accuracy, setup.run.train.learning_rate)


@dataclass(frozen=True)
class Trainer:
    """Trains one series."""

    bench: Bench
    setup: SetUp
    method: Method
    learning_rate: float
    seed: int

    @property
    def data(self) -> TaskData:
        """What the set-up is about."""
        return self.bench.data(self.setup.run)

    def series(self) -> Trained:
        """All models of the series, and what they cost together."""
        setup, method = self.setup, self.method
        self.bench.progress(
            f"{method.name}: {len(setup.tasks)} models, seed {self.seed}, learning rate {self.learning_rate:g}"
        )
        models: list[System] = []
        costs: list[Trained] = []
        for step, task in enumerate(setup.tasks):
            base = models[-1] if models and not method.fresh else None
            if step in setup.servers:
                costs.append(self.server(step))
                base = costs[-1].system
            seed = generator_for(self.seed, step, "series").initial_seed()
            old = models[-1] if models else None
            rows = of_classes(self.data.train, setup.seen(step) if method.fresh else task)
            costs.append(self.fitted(self.untrained(step, base, seed), rows, seed, old))
            models.append(costs[-1].system)
        return Trained(
            Series(setup, tuple(models), self.searched()),
            self.data,
            self.seed,
            sum(cost.examples for cost in costs),
            sum(cost.seconds for cost in costs),
            self.learning_rate,
            trainings=len(models),
        )

    def server(self, step: int) -> Trained:
        """The server's model that takes over at ``step``: cross-entropy alone, with the classifier of the method."""
        classes, share = self.setup.servers[step]
        plain = replace(self.method, name="server", fresh=True, hoc=False)
        trainer = replace(self, setup=replace(self.setup, tasks=(classes,), servers={}), method=plain)

        def make() -> Trained:
            seed = generator_for(self.seed, step, "server").initial_seed()
            rows = of_classes(self.data.train, classes)
            rows = rows.select(range(0, len(rows), round(1 / share)))
            return trainer.fitted(trainer.untrained(0, None, seed), rows, seed)

        return self.bench.memo(
            ("server", repr(self.setup), repr(plain), step, self.seed, self.learning_rate), make
        )

    def untrained(self, step: int, base: System | None, seed: int) -> System:
        """The model of ``step``: fresh, or from ``base`` (the server's model, or the previous one)."""
        setup, method = self.setup, self.method
        config = replace(setup.run.model, **method.options)
        seed_everything(seed)
        encoder = (
            copy.deepcopy(base.encoder).requires_grad_(True) if base else build_encoder(config, self.data)
        )
        classes = [str(label) for label in setup.seen(step)]
        # The server's classes have the slots from the front, so a client gives out those from the back.
        registry = SlotRegistry(encoder.embedding_dim + 1, {}).assign(
            classes, "back" if setup.servers and method.simplex else "front"
        )
        system = System(
            config,
            encoder,
            seed=seed,
            slots=registry.to_dict(),
            classes=classes,
            anchor=copy.deepcopy(base.encoder) if base and method.hoc else None,
            memory=self.memory(registry, step) if base and step and setup.memory else None,
        )
        slots = [registry.taken.get(str(label), -1) for label in range(self.data.num_classes or 0)]
        system.slot_of = torch.tensor(slots)
        if not method.simplex:
            learned = torch.nn.Linear(encoder.embedding_dim, len(classes), bias=False)
            if base and step not in setup.servers:  # the classifier of the previous model grows
                old = base.classifier.get_parameter("weight")
                learned.weight.data[: len(old)] = old.data
            system.classifier = learned
        return system

    def memory(self, registry: SlotRegistry, step: int) -> Examples:
        """What ``step`` is reminded of: a few examples of each class before it."""
        rows = of_classes(self.data.train, self.setup.seen(step - 1))
        rows = exemplars(rows, self.setup.memory, seed=0)
        slots = [registry.taken[str(label)] for label in rows.columns["label"]]
        return Examples({"input": rows.columns["input"], "slot": slots})

    def fitted(self, system: System, rows: Examples, seed: int, old: System | None = None) -> Trained:
        """Trains ``system`` in place. With a memory, half of each batch comes from there."""
        train, parts = self.setup.run.train, 2 if system.memory is not None else 1
        full = min(train.batch_size, parts * len(rows))
        config = replace(train, batch_size=full // parts, learning_rate=self.learning_rate)
        model = Influenced(system, old.classifier) if old and self.method.bct else system
        trained = self.bench.fit(model, rows, config, seed)
        return replace(trained, system=system, examples=trained.examples // config.batch_size * full)

    def searched(self) -> dict[str, Examples]:
        """By name, what the models are searched on."""
        if self.setup.run.data.source == "omniglot_small":
            novel = self.bench.memo("novel", lambda: load_images("omniglot_small", "novel"))
            return {"open set": novel}  # the drawers of each character in turn
        groups = [*self.setup.tasks, *(classes for classes, _ in self.setup.servers.values())]
        unseen = set(range(self.data.num_classes or 0)).difference(*groups)
        every = {"all classes": self.data.test}
        return {"open set": of_classes(self.data.test, unseen), **every} if len(unseen) > 1 else every
