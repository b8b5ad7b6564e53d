"""How well scores of heads agree with the truth, what they cost, and what the heads that they name keep."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from brickwork.studies.bench import Trained
from brickwork.studies.sae_circuits import baselines
from brickwork.systems.sae_circuits.codes import code_scores
from brickwork.systems.sae_circuits.effects import Head, score, some_counts
from brickwork.systems.sae_circuits.subjects import Prompts, next_token, read_prompts
from brickwork.systems.sae_circuits.system import System
from brickwork.systems.sae_circuits.wired import CIRCUIT

SHARE = 0.05
"""Of the whole difference: what a head of the circuit is worth at least."""
OTHER_SHARES = (0.02, 0.1)
SCORED = (10, 50)
"""Of the prompts, how many are scored; and all."""


def prompts_of(trained: Trained) -> Prompts:
    return read_prompts(trained.system.subject, trained.data.train.columns)


def truth(trained: Trained, share: float = SHARE) -> np.ndarray:
    """Which heads are of the circuit: wired, or with at least ``share`` of the whole difference as their effect, whichever
    way it goes."""
    system = trained.system
    if system.config.subject == "wired":
        known = np.zeros(system.effect.shape, dtype=bool)
        known[tuple(zip(*CIRCUIT))] = True
        return known.flatten()
    return (system.effect.abs() >= share * abs(trained.measured(_whole))).flatten().numpy()


def _whole(trained: Trained) -> float:
    """Mean of log p(answer) − log p(wrong) of the whole model, with the behaviour."""
    prompts = prompts_of(trained)
    rows = np.flatnonzero(prompts.behaves).tolist()
    model = trained.system.subject.model
    return float(score(next_token(model, [prompts.ids[row] for row in rows]), prompts, rows).mean())


def auc(trained: Trained, scores: Any, share: float = SHARE) -> float:
    """ROC-AUC of a score; NaN where all heads are of the circuit, or none."""
    from sklearn.metrics import roc_auc_score

    known = truth(trained, share)
    if known.all() or not known.any():
        return float("nan")
    return float(roc_auc_score(known, np.asarray(scores).flatten()))


def aucs(trained: Trained) -> dict[str, float]:
    """Of every score; ``untrained`` is the published one with an autoencoder as it was drawn. Then the published one against
    a wider and a narrower circuit, and its rank correlation with the size of the effect."""
    from scipy.stats import spearmanr

    system, prompts = trained.system, prompts_of(trained)
    scores: dict[str, Any] = {
        "published": system.published,
        "jaccard": system.jaccard,
        "mean difference": system.mean_difference,
        "raw difference": baselines.raw_difference(system, prompts),
        "probe": baselines.probe(system, prompts),
        **baselines.other_codes(system, prompts),
        "untrained": with_codes(trained, {"code_steps": 0}).published,
        "attribution": baselines.attribution(system, prompts),
        "gates": baselines.gates(system, prompts),
        "ACDC": baselines.acdc(system, prompts),
        "oracle": system.effect.abs(),
    }
    others = {
        f"published, truth from {share:.0%}": auc(trained, system.published, share) for share in OTHER_SHARES
    }
    correlation = spearmanr(system.published.flatten(), system.effect.abs().flatten()).statistic
    return {
        **{name: auc(trained, values) for name, values in scores.items()},
        **others,
        "published, rank correlation": float(correlation),
        "heads in the circuit": float(truth(trained).sum()),
    }


def auc_with(trained: Trained, change: tuple[tuple[str, Any], ...]) -> float:
    """Of the published score, with another autoencoder."""
    return auc(trained, with_codes(trained, dict(change)).published)


def auc_scored(trained: Trained) -> dict[str, float]:
    """Of the published score, by how many prompts are scored, half of them with the behaviour."""
    system, prompts = trained.system, prompts_of(trained)
    codes = system.codes.flatten(1).numpy()
    results = {}
    for count in (*SCORED, len(prompts)):
        rows = np.concatenate(
            [np.flatnonzero(prompts.behaves == behaves)[: count // 2] for behaves in (True, False)]
        )
        name = "all" if count == len(prompts) else str(count)
        results[name] = auc(trained, code_scores(codes[rows], prompts.behaves[rows])["published"])
    return results


def with_codes(trained: Trained, change: dict[str, Any]) -> System:
    """The codes of the same prompts by another autoencoder."""
    old = trained.system
    system = System(replace(old.config, **change), **old.facts)
    system._held = old.subject
    system._encode(prompts_of(trained))
    return system


def seconds(trained: Trained) -> dict[str, float]:
    """CPU time on the prompts of the run: of codes, of attribution, of ablating every head once, and of the search."""
    system, prompts = trained.system, prompts_of(trained)
    layers, heads, _, _ = system.shape
    work: dict[str, Callable[[], Any]] = {
        "codes": lambda: with_codes(trained, {}),
        "attribution": lambda: baselines.attribution(system, prompts),
        "ablation": lambda: [system._ablations(prompts).layer(layer, heads) for layer in range(layers)],
        "ACDC": lambda: baselines.acdc(system, prompts),
    }
    took = {}
    for name, run in work.items():
        began = time.process_time()
        run()
        took[name] = time.process_time() - began
    return took


def rankings(trained: Trained) -> dict[str, list[Head]]:
    """All heads, first those that a score names."""
    system = trained.system
    by = baselines.attribution(system, prompts_of(trained)).flatten()
    named = {
        name.replace("_", " "): system.ranking(name)
        for name in ("effect", "published", "mean_difference", "random")
    }
    order = [divmod(int(place), system.shape[1]) for place in np.argsort(-by, kind="stable")]
    return {**named, "attribution": order}


def areas(trained: Trained) -> dict[str, float]:
    """Area under held-out faithfulness against the share of heads, by the trapezoid rule from 0 heads to all."""
    return {name: _area(shares, values) for name, (shares, values) in trained.measured(curves).items()}


def enough(trained: Trained) -> dict[str, float]:
    """The smallest share of heads, of those that were tried, that keeps nine tenths."""
    return {
        name: min((share for share, value in zip(shares, values) if value >= 0.9), default=1.0)
        for name, (shares, values) in trained.measured(curves).items()
    }


def curves(trained: Trained) -> dict[str, tuple[list[float], list[float]]]:
    """For each ranking shares of the heads, and how much of the behaviour they keep on held-out prompts."""
    system = trained.system
    held_out = read_prompts(system.subject, trained.data.test.columns)
    return {name: _curve(system, held_out, ranking) for name, ranking in rankings(trained).items()}


def _curve(system: System, prompts: Prompts, ranking: Sequence[Head]) -> tuple[list[float], list[float]]:
    counts = some_counts(len(ranking))
    kept = system._ablations(prompts).kept(ranking, counts)
    return [count / len(ranking) for count in counts], [float(value) for value in kept]


def _area(shares: Sequence[float], values: Sequence[float]) -> float:
    return float(np.trapezoid([0.0, *values, 1.0], [0.0, *shares, 1.0]))
