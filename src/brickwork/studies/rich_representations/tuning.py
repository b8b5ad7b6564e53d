"""Fine-tuning on new classes: one network, all as one network, apart and then a head on all."""

import copy
from dataclasses import replace

import numpy as np

from brickwork.data.types import Examples, TaskData
from brickwork.encoders.joined import join
from brickwork.studies.bench import Trained
from brickwork.studies.rich_representations.measures import new_examples
from brickwork.studies.rich_representations.setups import members_of, source
from brickwork.studies.study import Lab
from brickwork.systems.rich_representations.config import Config
from brickwork.systems.rich_representations.system import System

_EACH, _HELD, _TEST = 300, 100, 300
"""Images of each new class to train on, to choose a learning rate by, and to test on."""


def target(trained: Trained) -> TaskData:
    """The classes that were not trained on, as a task of their own."""
    new = new_examples(trained)
    labels = np.asarray(new.columns["label"], dtype=np.int64)
    labels = labels - labels.min()
    order = np.random.default_rng(0).permutation(len(labels))
    parts: list[list[int]] = [[], [], []]
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        share = min(1.0, len(rows) / (_EACH + _HELD + _TEST))
        ends = np.cumsum([int(share * size) for size in (_EACH, _HELD, _TEST)])
        for part, a, b in zip(parts, (0, *ends), ends):
            part += rows[a:b].tolist()
    inputs = np.asarray(new.columns["input"])
    train, validation, test = (
        Examples({"input": inputs[sorted(rows)], "label": labels[sorted(rows)]}) for rows in parts
    )
    return TaskData(
        name="new classes",
        kind="labelled",
        modality="image",
        train=train,
        validation=validation,
        test=test,
        num_classes=int(labels.max()) + 1,
        class_names=tuple(f"new {n}" for n in range(int(labels.max()) + 1)),
    )


def fine_tuned(lab: Lab, start: tuple[Trained, ...], arm: str, seed: int) -> Trained:
    """``start`` of this seed, fine-tuned on the new classes, at the learning rate that suits the arm: chosen on validation
    examples with the first seed's members. All arms have the budget of all members apart."""
    count = members_of(lab.scale)
    by_seed = dict(zip(lab.seeds, start))
    train = source(lab.scale).train
    total = count * (30 if lab.smoke else 60)

    def tune(rate: float, of: int) -> Trained:
        before = by_seed.get(of, start[0])
        data = target(before)
        # Cut short in tests, a run has a step for each of its stages, which are one more with a head.
        configs = {
            "one network": Config(members=1, head_share=0.0),
            "as one": Config(members=count, learn="jointly"),
            "two stages": Config(members=count, head_share=0.1),
            "averaged heads": Config(members=count, head_share=0.0),
        }
        config = replace(configs[arm], encoder=before.system.config.encoder)
        encoder = copy.deepcopy(before.system.encoder)
        members = list(encoder.members)
        joined = join(members[:1] if arm == "one network" else members)
        system = System(config, joined, seed=of, classes=data.class_names)
        steps = total // count if arm == "as one" else total
        own = replace(
            train, steps=steps, batch_size=min(64, len(data.train)), learning_rate=rate, validate_every=0
        )
        lab.bench.progress(f"fine-tuning: {arm}, seed {of}, learning rate {rate:g}")
        fitted = lab.bench.fit(system, data.train, own, of, stages=System.plan_stages(config, steps))
        budget = lab.bench.steps(total) * own.batch_size
        return replace(fitted, data=data, examples=budget)

    def score(trained: Trained) -> float:
        return float(trained.system.evaluate(trained.data.validation)["accuracy"])

    key = ("fine-tuned", arm, lab.scale, repr(source(lab.scale)))
    return lab.bench.at_its_rate(key, tune, score, train.learning_rate / 2)(seed)
