"""The documents of the claims, and how each arm is trained: equal examples, its own learning rate."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from brickwork.core.seeding import seed_everything
from brickwork.data.types import Examples, TaskData
from brickwork.data.vocabulary import Vocabulary
from brickwork.studies.bench import Trained
from brickwork.studies.binary_paragraph_vector.rivals import Autoencoder, Era
from brickwork.studies.study import Lab
from brickwork.systems.binary_paragraph_vector.config import Config, Data
from brickwork.systems.binary_paragraph_vector.measures import hamming, levels_of, quality
from brickwork.training.config import TrainConfig

SLUG = "binary-paragraph-vector"
AUTOENCODER_RATE = 1e-3
_TOPICS, _WORDS, _OWN_WORDS = 8, 400, 60
_VALIDATED = 500  # documents at most, by which rates are chosen


def training(lab: Lab) -> TrainConfig:
    """Steps and batches of every arm."""
    from brickwork.systems.binary_paragraph_vector.recipes import small

    steps, batch = (120, 64) if lab.smoke else (300, 256)
    return replace(small().train, steps=steps, batch_size=batch, validate_every=0, save_every=0)


def model(lab: Lab, **options: Any) -> Config:
    """The system's configuration: a code of one size unless ``options`` say more."""
    bits = options.get("bits", 128)
    words, least = (500, 1) if lab.smoke else (4000, 5)
    return Config(**{"sizes": (bits,), "vocabulary": words, "min_count": least, **options})


# ---- documents -------------------------------------------------------------------------------------------------------


def news(lab: Lab, seed: int) -> TaskData:
    """20 Newsgroups (stripped, random split), 4,500 documents to train on and to validate; at smoke made-up ones."""
    return lab.bench.memo(("news", lab.scale, seed), lambda: _news(lab, seed))


def _news(lab: Lab, seed: int) -> TaskData:
    if lab.smoke:
        return made_up(seed, words=0)
    from brickwork.systems.binary_paragraph_vector.data import load_data

    return load_data(Data(source="newsgroups20", limit=4500, validation_share=0.1), seed)


def other_news(lab: Lab, seed: int) -> TaskData:
    """AG News, titles and texts as one document each; at smoke documents of other made-up topics over the same words."""
    return lab.bench.memo(("other news", lab.scale, seed), lambda: _other_news(lab, seed))


def _other_news(lab: Lab, seed: int) -> TaskData:
    if lab.smoke:
        return made_up(seed, words=1)
    from brickwork.data.load import load_task

    task = load_task(Data(source="ag_news"), seed)
    train, validation, test = (_joined(part) for part in (task.train, task.validation, task.test))
    return replace(task, kind="texts", retrieval={}, train=train, validation=validation, test=test)


def _joined(pairs: Examples) -> Examples:
    columns = pairs.columns
    return Examples({"input": [f"{a}. {b}" for a, b in zip(columns["anchor"], columns["positive"])]})


def made_up(seed: int, *, words: int) -> TaskData:
    """Documents of eight topics: each of 20 to 59 words, a quarter of them from 60 of its topic, the others by Zipf's law.

    ``words``: which draw of topics.
    """
    topics = np.random.default_rng([7, words]).permuted(np.tile(np.arange(_WORDS), (_TOPICS, 1)), axis=1)
    usual = 1 / np.arange(1, _WORDS + 1)
    rng = np.random.default_rng([seed, words])

    def part(count: int) -> Examples:
        labels = [number % _TOPICS for number in range(count)]
        texts = [_document(rng, topics[label, :_OWN_WORDS], usual / usual.sum()) for label in labels]
        return Examples({"input": texts, "label": labels})

    return TaskData(
        name="made-up topics", kind="labelled", modality="text", train=part(320), validation=part(80), test=part(160),
        num_classes=_TOPICS,
    )  # fmt: skip


def _document(rng: np.random.Generator, own: np.ndarray, usual: Float[np.ndarray, " words"]) -> str:
    count = int(rng.integers(20, 60))
    ids = np.where(rng.random(count) < 0.25, rng.choice(own, count), rng.choice(_WORDS, count, p=usual))
    return " ".join(f"word{number}" for number in ids)


# ---- arms ------------------------------------------------------------------------------------------------------------

Documents = Callable[[Lab, int], TaskData]
Make = Callable[[TaskData, int], Any]


def codes(lab: Lab, documents: Documents = news, **options: Any) -> Callable[[int], Trained]:
    """Seed → the system with these options."""
    from brickwork.systems.binary_paragraph_vector.recipes import small
    from brickwork.systems.binary_paragraph_vector.system import System

    config = model(lab, **options)

    def make(data: TaskData, seed: int) -> System:
        return System.build(config, data, None, seed)

    return _arm(lab, ("codes", config), make, documents, small().train.learning_rate)


def autoencoder(lab: Lab, era: Era, bits: int) -> Callable[[int], Trained]:
    """Seed → the autoencoder of an era."""
    config = model(lab)

    def make(data: TaskData, seed: int) -> Autoencoder:
        texts = data.train.columns["input"]
        vocabulary = Vocabulary.from_texts(texts, min_count=config.min_count, max_size=config.vocabulary)
        return Autoencoder(vocabulary, bits, era)

    return _arm(lab, ("autoencoder", era, bits), make, news, AUTOENCODER_RATE)


def _arm(lab: Lab, key: Any, make: Make, documents: Documents, rate: float) -> Callable[[int], Trained]:
    """Seed → what ``make`` builds, trained at the rate that is best by :func:`validation_map`."""
    lab.bench.systems.add(SLUG)

    def train(rate: float, seed: int) -> Trained:
        data = documents(lab, seed)
        seed_everything(seed)
        config = replace(training(lab), learning_rate=rate)
        judged = news(lab, seed)  # also where others are trained on, the documents to find are these
        return replace(lab.bench.fit(make(data, seed), data.train, config, seed), data=judged)

    return lab.bench.at_its_rate((*key, documents.__name__, lab.scale), train, validation_map, rate)


def validation_map(trained: Trained) -> float:
    """Mean average precision among validation documents, of what a model is for: its longest code, or its real vectors."""
    columns: Mapping[str, Any] = trained.data.validation.columns
    texts, labels = list(columns["input"][:_VALIDATED]), np.asarray(columns["label"][:_VALIDATED])
    system = trained.system
    config = getattr(system, "config", None)
    if config is not None and (config.real or config.binariser == "none"):
        vectors = real_vectors(system, texts)
        levels = levels_of(vectors @ vectors.T)
    else:
        bits = system.bits(texts)
        levels = hamming(bits, bits)
    return float(quality(levels, labels)["map"].mean())


def real_vectors(system: Any, texts: list[str]) -> Float[np.ndarray, "texts dim"]:
    """Of length 1: those of paragraph vectors without bits, or those behind the code."""
    vectors = system.representation().encode(texts)
    real: np.ndarray = vectors if system.config.real is None else vectors[:, system.config.bits :]
    unit: np.ndarray = real / np.maximum(np.linalg.norm(real, axis=1, keepdims=True), 1e-12)
    return unit
