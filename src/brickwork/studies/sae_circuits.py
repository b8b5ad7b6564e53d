"""The study of SAE circuits: scores of heads against a truth that is wired (smoke) or computed by ablation (small).

Smoke: the hand-wired model, in which two of sixteen heads do the work and the others write noise that nothing reads, of
several sizes. Small: SmolLM2-135M on two behaviours; a head is of the circuit if without it at least a twentieth of the
difference of log-probabilities is lost. Every score sees the same prompts. Arms: the published code score, the same with
an autoencoder that was never trained, its Jaccard form, the normalised mean difference (one line), and attribution (one
backward pass; "HISP" in the paper).
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brickwork.modules.places import find_places
from brickwork.modules.recorder import tap
from brickwork.studies.bench import Trained
from brickwork.studies.effects import Effect, Measured, average
from brickwork.studies.study import ClaimResult, Lab, claim
from brickwork.systems.sae_circuits.effects import heads_name, score, some_counts
from brickwork.systems.sae_circuits.subjects import Prompts, next_token, padded, read_prompts
from brickwork.systems.sae_circuits.system import System
from brickwork.systems.sae_circuits.wired import CIRCUIT

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

SHARE = 0.05
"""Of the whole difference: what a head of the circuit is worth at least."""
_NEEDS = "a language model that was trained: the hand-wired one is a stress test"
_SCORES = ("published", "jaccard", "mean difference", "attribution")

# ---- the claims -------------------------------------------------------------------------------------------------


@claim(
    "C1",
    "Codes find the heads of a circuit better than other scores",
    paper="node ROC-AUC of GPT-2 small: IOI .868, greater-than .855, docstring .869; ACDC's own table has .873, .890, .938",
    criterion="mean AUC of the score at least .80; − attribution, − untrained, − mean difference at least .03 each",
    needs=_NEEDS,
)
def finds_heads(lab: Lab) -> ClaimResult:
    at = _scores(lab)
    arms = [arm for arm in at.labels("arm") if arm.startswith("task")]
    mean = {name: average(at[arm, name] for arm in arms) for name in (*_SCORES, "untrained", "oracle")}
    others = {
        name: mean["published"] - mean[name] for name in ("attribution", "untrained", "mean difference")
    }
    told = ", ".join(f"{name} {effect.mean:.2f}" for name, effect in mean.items())
    return lab.verdict(
        mean["published"],
        {"AUC": mean["published"] >= 0.80} | {f"− {name}": effect >= 0.03 for name, effect in others.items()},
        unit="ROC-AUC of the published score, mean over tasks",
        table=at.rows("arm"),
        note=f"Mean over tasks: {told}.",
    )


@claim(
    "C2",
    "Codes take seconds where a search takes hours",
    paper="hours → seconds",
    criterion="seconds of codes at most 1/20 of those of exhaustive ablation on the same prompts",
    needs=_NEEDS,
)
def seconds_not_hours(lab: Lab) -> ClaimResult:
    arms = lab.arms({name: _maker(lab, run) for name, run in _runs(lab).items()})
    at = arms.measure(_seconds, key="what")
    ratio = average(at[arm, "ablation"] / at[arm, "codes"] for arm in arms)
    faster = average(at[arm, "codes"] / at[arm, "attribution"] for arm in arms)
    return lab.verdict(
        ratio,
        {"ratio": ratio >= 20},
        unit="times the seconds: exhaustive ablation over codes",
        table=at.rows("arm", digits=3),
        note=f"Attribution is {faster.mean:.0f} times as fast as codes; the mean difference needs no training at all.",
    )


@claim(
    "C3",
    "Five to ten examples are enough for the autoencoder",
    paper="node AUC with 10 against 250 prompts: IOI .868 and .779, greater-than .850 and .679, docstring .869 and .851",
    criterion="AUC with 10 prompts at most .03 below that with all of them",
    needs=_NEEDS,
)
def few_examples(lab: Lab) -> ClaimResult:
    sizes = (5, 10, 1000)  # the last: all
    at = _published(lab, {f"{n} prompts": {"code_prompts": n} for n in sizes})
    gap = at["10 prompts"] - at["1000 prompts"]
    return lab.verdict(
        gap,
        {"gap": gap >= -0.03},
        unit="ROC-AUC, autoencoder of 10 prompts − of all",
        table=at.rows("arm"),
        note="Scoring uses all labelled prompts, whatever the autoencoder learnt from.",
    )


@claim(
    "C4",
    "The score does not depend much on hyper-parameters",
    paper="AUC with 5 to 250 latents: IOI .776 → .834, greater-than .559 → .845, docstring .772 → .848",
    criterion="standard deviation of the AUC over the grid (m 100, 200; λ .005, .02, .1) at most .05",
    needs=_NEEDS,
)
def robust(lab: Lab) -> ClaimResult:
    grid = {f"m={m}, λ={l1}": {"latents": m, "l1": l1} for m in (100, 200) for l1 in (0.005, 0.02, 0.1)}
    at = _published(lab, grid)
    rows = [[at[name].values[place] for name in grid] for place in range(len(lab.seeds))]
    spread = Effect(tuple(float(np.std(row)) for row in rows))
    return lab.verdict(
        spread,
        {"spread": spread <= 0.05},
        unit="ROC-AUC, standard deviation over the grid",
        table=at.rows("arm"),
        note="A score that is wrong everywhere is robust as well: see C1.",
    )


@claim(
    "C5",
    "The circuit that codes find keeps the behaviour",
    paper="induction, GPT-2 small: 141 of 144 heads keep .99, 127 keep .91, 96 keep .65, 63 keep .39",
    criterion="area under held-out faithfulness of the published score − that of attribution at least 0",
    needs=_NEEDS,
)
def keeps_behaviour(lab: Lab) -> ClaimResult:
    arms = lab.arms({name: _maker(lab, run) for name, run in _runs(lab).items()})
    at = arms.measure(_areas, key="ranking")
    gap = average(at[arm, "published"] - at[arm, "attribution"] for arm in arms)
    order = {
        name: average(at[arm, name] for arm in arms).mean for name in ("effect", "mean difference", "random")
    }
    return lab.verdict(
        gap,
        {"gap": gap >= 0},
        unit="area under faithfulness against share of heads, published score − attribution",
        table=at.rows("arm"),
        note="Other rankings: " + ", ".join(f"{name} {value:.2f}" for name, value in order.items()) + ".",
    )


# ---- set-ups ----------------------------------------------------------------------------------------------------


def _runs(lab: Lab) -> "dict[str, RunConfig]":
    from brickwork.systems.sae_circuits.recipes import small, smoke

    if lab.smoke:
        run = smoke()
        paper = replace(run.model, latents=200, code_steps=lab.bench.steps(500))
        return {
            f"task wired, noise {noise}": replace(run, model=replace(paper, distractor=noise))
            for noise in (0.25, 1.0, 2.0)
        }
    run = small()
    return {
        f"task {task}": replace(run, data=replace(run.data, source=task)) for task in ("ioi", "greater-than")
    }


def _maker(lab: Lab, run: "RunConfig") -> Any:
    return lambda seed: lab.bench.train(replace(run, seed=seed))


def _scores(lab: Lab) -> Measured:
    """ROC-AUC of every score; ``untrained`` is the published one with an autoencoder as it was drawn."""
    runs = _runs(lab)
    arms = lab.arms({name: _maker(lab, run) for name, run in runs.items()})
    return arms.measure(_aucs, key="score")


def _published(lab: Lab, changes: dict[str, dict[str, Any]]) -> Measured:
    """Mean over tasks of the AUC of the published score, for each change of the autoencoder."""
    arms = lab.arms({name: _maker(lab, run) for name, run in _runs(lab).items()})
    results = {}
    for name, change in changes.items():
        by_task = arms.measure(_auc_with, tuple(change.items()))
        results[(name,)] = average(by_task[arm] for arm in arms)
    return Measured(lab.seeds, ("arm",), results)


# ---- measures ---------------------------------------------------------------------------------------------------


def _prompts(trained: Trained) -> Prompts:
    return read_prompts(trained.system.subject, trained.data.train.columns)


def truth(trained: Trained) -> np.ndarray:
    """Which heads are of the circuit: wired, or worth at least a twentieth of the whole difference."""
    system = trained.system
    if system.config.subject == "wired":
        known = np.zeros(system.effect.shape, dtype=bool)
        known[tuple(zip(*CIRCUIT))] = True
        return known.flatten()
    prompts = _prompts(trained)
    rows = np.flatnonzero(prompts.behaves).tolist()
    whole = score(next_token(system.subject.model, [prompts.ids[row] for row in rows]), prompts, rows).mean()
    return (system.effect >= SHARE * abs(float(whole))).flatten().numpy()


def _auc(trained: Trained, scores: Any) -> float:
    from sklearn.metrics import roc_auc_score

    known = truth(trained)
    if known.all() or not known.any():
        return float("nan")
    return float(roc_auc_score(known, np.asarray(scores).flatten()))


def _aucs(trained: Trained) -> dict[str, float]:
    system = trained.system
    return {
        "published": _auc(trained, system.published),
        "jaccard": _auc(trained, system.jaccard),
        "mean difference": _auc(trained, system.mean_difference),
        "attribution": _auc(trained, attribution(system, _prompts(trained))),
        "untrained": _auc_with(trained, (("code_steps", 0),)),
        "oracle": _auc(trained, system.effect),
    }


def _auc_with(trained: Trained, change: tuple[tuple[str, Any], ...]) -> float:
    return _auc(trained, _with(trained, dict(change)).published)


def _with(trained: Trained, change: dict[str, Any]) -> System:
    """The codes of the same prompts by another autoencoder."""
    old = trained.system
    system = System(replace(old.config, **change), **old.facts)
    system._held = old.subject
    system._encode(_prompts(trained))
    return system


def attribution(system: System, prompts: Prompts) -> np.ndarray:
    """|mean over prompts with the behaviour of ∂m/∂z · (z̄ − z)|, summed over tokens: one backward pass (Nanda 2023)."""
    model, rows = system.subject.model, np.flatnonzero(prompts.behaves).tolist()
    layers, heads, size, _ = system.shape
    places = find_places(model)
    total = torch.zeros(layers, heads)
    for start in range(0, len(rows), system.config.batch):
        own = rows[start : start + system.config.batch]
        ids, mask = padded([prompts.ids[row] for row in own])
        with torch.enable_grad():
            embedded = model.embed(ids).detach().requires_grad_()
            with ExitStack() as stack:
                taps = [tap(places[heads_name(layer)].module) for layer in range(layers)]
                seen = [stack.enter_context(one) for one in taps]
                logits = model(mask=mask, inputs_embeds=embedded).logits[
                    torch.arange(len(own)), mask.sum(1) - 1
                ]
            m = score(logits.float().log_softmax(-1), prompts, own).sum()
            inputs = [layer[0] for layer in seen]
            gradients = torch.autograd.grad(m, inputs)
        for layer, (z, gradient) in enumerate(zip(inputs, gradients)):
            moved = (system.means[layer].flatten() - z) * gradient * mask[..., None]
            total[layer] += moved.unflatten(-1, (heads, size)).sum((0, 1, 3)).detach()
    return (total / len(rows)).abs().numpy()


def _seconds(trained: Trained) -> dict[str, float]:
    """On the prompts of the run: of codes, of attribution, and of ablating each head of one layer, times the layers."""
    system, prompts = trained.system, _prompts(trained)
    layers, heads, _, _ = system.shape
    took: dict[str, float] = {}
    for name, work, times in (
        ("codes", lambda: _with(trained, {}), 1),
        ("attribution", lambda: attribution(system, prompts), 1),
        ("ablation", lambda: system._ablations(prompts).layer(0, heads), layers),
    ):
        began = time.process_time()
        work()
        took[name] = times * (time.process_time() - began)
    return took


def _areas(trained: Trained) -> dict[str, float]:
    """Area under held-out faithfulness against the share of heads, by the trapezoid rule from 0 heads to all."""
    system, prompts = trained.system, _prompts(trained)
    by = attribution(system, prompts).flatten()
    heads = system.shape[1]
    rankings = {
        name.replace("_", " "): system.ranking(name)
        for name in ("effect", "published", "mean_difference", "random")
    }
    rankings["attribution"] = [divmod(int(place), heads) for place in np.argsort(-by, kind="stable")]
    held_out = read_prompts(system.subject, trained.data.test.columns)
    return {name: _area(system, held_out, ranking) for name, ranking in rankings.items()}


def _area(system: System, prompts: Prompts, ranking: Sequence[tuple[int, int]]) -> float:
    total = len(ranking)
    counts = some_counts(total)
    kept = system._ablations(prompts).kept(ranking, counts)
    return float(np.trapezoid([0.0, *kept, 1.0], [0.0, *(count / total for count in counts), 1.0]))
