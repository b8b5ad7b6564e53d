"""How well the senses that are found agree with those that are known; labels are read here alone.

Words that choose how senses are read (by gate or cosine, which vectors k-means takes) are not those that are scored.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from brickwork.core.seeding import generator_for
from brickwork.studies.bench import Trained
from brickwork.studies.disambiguated_skipgram.mssg import MultiSense
from brickwork.systems.disambiguated_skipgram.senses import Occurrences, Senses, find
from brickwork.systems.disambiguated_skipgram.system import System

REACHES = (0, 10)  # words to each side; 0: the whole text
CLUSTERS = (2, 3, 5)
_MOST = 600  # texts of a word
_CHOOSING = 3  # every third word chooses, the others are scored
Found = Int[np.ndarray, " rows"]
Way = Callable[[System, Occurrences], Found]


def known(trained: Trained) -> dict[str, tuple[list[str], list[str]]]:
    """Word -> its texts and their senses, of words with two senses or more. Training never reads the senses, so
    all texts are scored."""
    rows: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    parts = (
        [trained.data.train]
        if trained.data.test is trained.data.train
        else [trained.data.train, trained.data.test]
    )
    for part in parts:
        for text, word, sense in zip(part.columns["input"], part.columns["word"], part.columns["sense"]):
            if sense and word in trained.system.vocabulary.ids and len(rows[word][0]) < _MOST:
                rows[word][0].append(text)
                rows[word][1].append(sense)
    return {word: both for word, both in sorted(rows.items()) if len(set(both[1])) > 1}


def choosing(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that choose a way of reading, and those that are scored."""
    return list(words[::_CHOOSING]), [word for place, word in enumerate(words) if place % _CHOOSING]


def agreement(
    trained: Trained, way: Way, reach: int, words: Sequence[str], *, shuffled: bool = False
) -> float:
    """Mean adjusted Rand index over words. ``shuffled``: every text is read as another one of the same word."""
    from sklearn.metrics import adjusted_rand_score

    system, of = trained.system, trained.measured(known)
    scores = []
    for number, word in enumerate(words):
        texts, senses = of[word]
        if shuffled:
            order = torch.randperm(len(texts), generator=generator_for(trained.seed, number, "shuffled"))
            texts = [texts[place] for place in order.tolist()]
        found = way(system, find(system.vocabulary, [word] * len(texts), texts, reach))
        scores.append(adjusted_rand_score(senses, found))
    return float(np.mean(scores)) if scores else float("nan")


def by_gate(system: System, of: Occurrences) -> Found:
    return system.senses.probabilities(of, "gate").argmax(1).numpy()


def by_cosine(system: System, of: Occurrences) -> Found:
    return system.senses.probabilities(of, "cosine").argmax(1).numpy()


def by_clusters(system: Any, of: Occurrences) -> Found:
    return system.find(of).numpy()


def k_means(vectors: str, count: int) -> Way:
    """k-means of the contexts of a word: means of the vectors of their words as these are predicted (``words``), or of their
    own vectors (``senses``)."""

    def way(system: System, of: Occurrences) -> Found:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        senses = system.senses
        table = system.tables.words if vectors == "words" else senses.means
        x = torch.nn.functional.normalize(senses.context_vectors(of, table), dim=-1).detach().numpy()
        with threadpool_limits(1):
            return KMeans(min(count, len(x)), n_init=4, random_state=0).fit_predict(x).astype(np.int64)

    return way


def ways(trained: Trained) -> dict[tuple[str, int], tuple[Way, int]]:
    """Every way of reading a model's senses."""
    named: dict[str, Way] = {"gate": by_gate, "cosine": by_cosine}
    if isinstance(trained.system, MultiSense):
        named = {"clusters": by_clusters, "cosine": by_cosine}
    elif trained.system.config.senses == 1:
        named = {f"k-means {v} {k}": k_means(v, k) for v in ("words", "senses") for k in CLUSTERS}
    return {(name, reach): (way, reach) for name, way in named.items() for reach in REACHES}


def best_way(trained: Trained) -> tuple[str, int]:
    """The way that agrees best on the words that choose."""
    words, _ = choosing(list(trained.measured(known)))
    every = ways(trained)
    return max(every, key=lambda name: agreement(trained, *every[name], words))


def tuning_score(trained: Trained) -> float:
    """Its agreement on the words that choose: by it rates are chosen as well."""
    words, _ = choosing(list(trained.measured(known)))
    return agreement(trained, *ways(trained)[trained.measured(best_way)], words)


def scored(trained: Trained) -> dict[str, float]:
    """``ari`` of the words that are scored, by the best way; ``shuffled``: with texts of each word in another order."""
    _, words = choosing(list(trained.measured(known)))
    way = ways(trained)[trained.measured(best_way)]
    return {
        "ari": agreement(trained, *way, words),
        "shuffled": agreement(trained, *way, words, shuffled=True),
        "senses kept": float(used(trained, words)),
    }


def used(trained: Trained, words: Sequence[str]) -> float:
    """How many senses of these words are kept, on average."""
    places = [trained.system.vocabulary.ids[word] for word in words]
    return float(trained.system.senses.kept[places].sum(1).double().mean())


def gained(trained: Trained) -> float:
    """Nats by which held-out words around are predicted better than by their frequency."""
    scores = trained.system.evaluate(trained.data.test)
    return scores["nats_by_frequency"] - scores["nats_per_word"]


def pruned(trained: Trained, thresholds: Sequence[float]) -> dict[str, float]:
    """Senses that a word has left at each threshold, on average over all words, and the agreement with only these."""
    system = trained.system
    _, words = choosing(list(trained.measured(known)))
    results = {}
    for least in thresholds:
        senses = system.pruned(least)
        results[f"senses at {least}"] = float(senses.kept.sum(1).double().mean())
        results[f"ARI at {least}"] = agreement(trained, partial(_by_gate_of, senses), 0, words)
    return results


def _by_gate_of(senses: Senses, _: System, of: Occurrences) -> Found:
    return senses.probabilities(of, "gate").argmax(1).numpy()


def ambiguous_words(trained: Trained) -> dict[str, float]:
    """ROC-AUC of words with several known senses against other words of like frequency (the ten nearest of each in
    the ranking of frequencies, whose senses nobody knows: mostly one), by ambiguity and by the number of senses that have a
    fifth of a word's places."""
    from sklearn.metrics import roc_auc_score

    system = trained.system
    places = {system.vocabulary.ids[word] for word in trained.measured(known)}
    near = {p + step for p in places for step in range(-5, 6)} - places
    others = [place for place in sorted(near) if 0 <= place < len(system.vocabulary)]
    both = [*sorted(places), *others]
    labels = [1] * len(places) + [0] * len(others)
    counts = system.pruned(0.2).kept.sum(1).numpy()
    return {
        "ambiguity": float(roc_auc_score(labels, system.senses.ambiguity()[both])),
        "number of senses": float(roc_auc_score(labels, counts[both])),
    }
