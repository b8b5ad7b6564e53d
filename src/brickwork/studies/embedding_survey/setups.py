"""Texts, and methods learnt from them; planted associations."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from brickwork.data.sets.sources import locate
from brickwork.data.types import Examples, TaskData
from brickwork.representation.contract import build_system
from brickwork.studies.bench import Trained
from brickwork.studies.study import Lab
from brickwork.systems.embedding_survey.config import Config
from brickwork.training.config import TrainConfig

_PASSAGE = 100  # words


def corpus(lab: Lab) -> list[str]:
    """Passages of the domain corpora (Brown, ABC, addresses, web texts), mixed: 2.4 million words, at smoke 150,000."""
    return lab.bench.memo(("survey corpus", lab.scale), lambda: passages(1500 if lab.smoke else None))


def passages(limit: int | None) -> list[str]:
    """The passages themselves, in an order that is always the same, or the first of them."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(
        locate("language_modelling") / "language_modelling" / "domain_corpora.parquet"
    )
    words = [text.split() for text in table["text"].to_pylist()]
    found = [" ".join(w[i : i + _PASSAGE]) for w in words for i in range(0, len(w), _PASSAGE)]
    order = np.random.default_rng(0).permutation(len(found))[:limit]
    return [found[place] for place in order]


def learnt(
    lab: Lab, name: str, texts: Callable[[int], Sequence[str]], **model: Any
) -> Callable[[int], Trained]:
    """An arm: texts of a seed, called ``name``, and a configuration."""
    config = Config(**model)

    def make(seed: int) -> Trained:
        def train() -> Trained:
            examples = Examples({"input": list(texts(seed))})
            data = TaskData(
                name=name,
                kind="texts",
                modality="text",
                train=examples,
                validation=examples.select([]),
                test=examples.select([]),
            )
            lab.bench.systems.add("embedding-survey")
            system = build_system("embedding-survey", config, data, seed)
            return lab.bench.fit(system, examples, TrainConfig(save_every=0), seed)

        return lab.bench.memo(("survey", lab.scale, name, config, seed), train)

    return make


def sizes(lab: Lab) -> dict[str, Any]:
    """Dimensions and least counts of a scale."""
    return {"dimensions": 30, "min_count": 3} if lab.smoke else {"dimensions": 100}


JOBS = {
    "a": ("nurse", "teacher", "librarian", "dancer", "nanny", "stylist", "florist", "midwife"),
    "b": ("engineer", "driver", "miner", "pilot", "plumber", "welder", "boxer", "mason"),
}
PEOPLE = {
    "a": ("she", "her", "woman", "girl", "mother", "sister", "aunt", "daughter"),
    "b": ("he", "his", "man", "boy", "father", "brother", "uncle", "son"),
}
_KINDS = 4  # of deeds of each side
_OTHERS = 120  # words that stand with either side's deeds


def planted(ratio: int, seed: int) -> list[str]:
    """Sentences in which people of a side do what their side does, and jobs do what "their" side does ``ratio`` times as
    often as what the other does; further words, each with a share of its own. Each side has several kinds of deeds, people
    do all of them and other words one kind, so that what tells the sides apart is in more than one direction. Ratio 1: no
    association of the jobs."""
    rng = np.random.default_rng(seed)
    deeds = {side: [[f"{side}{kind}deed{i}" for i in range(20)] for kind in range(_KINDS)] for side in "ab"}
    times = [f"time{i}" for i in range(60)]
    words: list[tuple[str, float]] = [(word, float(side == "a")) for side in "ab" for word in PEOPLE[side]]
    words += [
        (word, ratio / (ratio + 1) if side == "a" else 1 / (ratio + 1))
        for side in "ab"
        for word in JOBS[side]
    ]
    words += [(f"other{i}", float(share)) for i, share in enumerate(np.linspace(0.02, 0.98, _OTHERS))]
    people = {word for side in "ab" for word in PEOPLE[side]}
    texts = []
    for place, (word, share) in enumerate(words):
        for _ in range(120):
            side = "a" if rng.random() < share else "b"
            kind = int(rng.integers(_KINDS)) if word in people else place % _KINDS
            first, second, third = rng.choice(deeds[side][kind], 3)
            texts.append(f"{rng.choice(times)} {first} {word} {second} {third} {rng.choice(times)}")
    return texts
