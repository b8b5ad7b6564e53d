"""The claims of EMoE, and the controls that its paper lacks. Accuracies are in percent; gains are paired by seed, each arm
at the learning rate that its validation data chose from one grid."""

import copy
from typing import Any

import torch

from brickwork.modules.ffn_split import group_order, inverse, permute
from brickwork.studies.bench import Trained
from brickwork.studies.effects import Effect, Fact, Measured, average, combined
from brickwork.studies.emoe.setups import accuracies, classification, structure_gains, validation_score
from brickwork.studies.study import Arms, ClaimResult, Lab, claim

POINTS = "points of accuracy"
ARMS: dict[str, dict[str, Any]] = {
    "dense": {"choose": "all"},
    "EMoE": {},
    "random groups": {"grouping": "random"},
    "group dropout": {"choose": "random"},
    "learned gate": {"choose": "learned"},
}
TOLERANCE = 1e-5


def _subjects(lab: Lab) -> tuple[str, ...]:
    return ("trained here",) if lab.smoke else ("minilm", "smollm2")


@claim(
    "S1",
    "Neurons of a trained model cluster into modules: more than neurons put together by chance, and than those of the same "
    "model before training",
    paper="the premise; MoEfication (2110.01786) measured it on T5 and BERT",
    criterion="in every layer looked at: co-activation within groups, activation in the top quarter of the groups, and "
    "recall of these by the mean key are higher for clusters of the trained keys than for random groups, and than for "
    "clusters of the untrained model's keys",
)
def neurons_are_modules(lab: Lab) -> ClaimResult:
    """Smallest difference over layers and models, so that one layer without structure decides."""
    at = {name: [structure_gains(lab, name, seed) for seed in lab.seeds] for name in _subjects(lab)}
    measures = list(next(iter(at.values()))[0])
    least = {
        measure: combined(min, [Effect(tuple(one[measure] for one in several)) for several in at.values()])
        for measure in measures
    }
    table = [
        {"model": name, "seed": seed, **{m: round(value, 4) for m, value in one.items()}}
        for name, several in at.items()
        for seed, one in zip(lab.seeds, several)
    ]
    return lab.verdict(
        least["untrained co-activation"],
        {measure: effect > 0 for measure, effect in least.items()},
        unit="co-activation, clusters of trained − of untrained keys, the smallest over layers",
        table=table,
        note="Smallest differences over layers: "
        + ", ".join(f"{measure} {effect.mean:+.3f}" for measure, effect in least.items())
        + ". 16 groups; an untrained network shows part of it, since weights are clustered directly.",
    )


@claim(
    "S2",
    "The groups add no parameter: all used is the dense model, and the order of neurons comes back exactly",
    paper="section 3: the same parameters; put back after tuning",
    criterion="logits with all groups within 1e-5 of those without any; the same number of parameters; permuted and put "
    "back the same bits",
)
def nothing_is_added(lab: Lab) -> ClaimResult:
    arms = lab.arms(classification(lab.scale), {name: ARMS[name] for name in ("dense", "EMoE")})
    at = arms.only("EMoE").measure(_equivalence, key="what")
    sizes = {name: sum(p.numel() for p in trained[0].system.parameters()) for name, trained in arms.items()}
    difference = at["EMoE", "masked"]
    exact = "arithmetic on given weights"
    return lab.verdict(
        difference,
        {
            "all groups are the dense model": Fact(max(difference.values) <= TOLERANCE, exact),
            "permuted, the same function": Fact(max(at["EMoE", "permuted"].values) <= TOLERANCE, exact),
            "permuted and put back, the same bits": Fact(max(at["EMoE", "back"].values) == 0, exact),
            "no parameter more": Fact(sizes["EMoE"] == sizes["dense"], "a count"),
        },
        unit="largest difference of a logit, all groups used − no groups",
        table=at.rows("what", digits=9),
    )


def _equivalence(trained: Trained) -> dict[str, float]:
    """Largest differences of logits; ``back``: of weights."""
    from brickwork.modules.ffn_split import gated

    system = copy.deepcopy(trained.system)
    batch = system.collate({"input": trained.data.test.columns["input"][:32]})
    with torch.no_grad():
        plain = system.logits(batch["input"])
        with gated(system.labels, system.gates_of(system.config.groups)):
            masked = system.logits(batch["input"])
        before = copy.deepcopy(system.encoder.state_dict())
        orders = {half: group_order(own) for half, own in system.labels.items()}
        for half, order in orders.items():
            permute(half, order)
        permuted = system.logits(batch["input"])
        for half, order in orders.items():
            permute(half, inverse(order))
    back = max(float((before[n] - t).abs().max()) for n, t in system.encoder.state_dict().items())
    return {
        "masked": float((plain - masked).abs().max()),
        "permuted": float((plain - permuted).abs().max()),
        "back": back,
    }


@claim(
    "C1",
    "Fine-tuning in emergent groups is better than dense fine-tuning, above all outside of the training data",
    paper="+0.6 to +0.9 points on average: BERT-base GLUE 79.58 to 80.46, ViT-S DomainBed 70.79 to 71.54, GPT2-small GLUE "
    "75.42 to 76.34",
    criterion="mean over the tests outside of the training data, EMoE − dense, above 0",
)
def better_than_dense(lab: Lab) -> ClaimResult:
    arms, at = _tuned(lab, *ARMS)
    gain = _outside(at, "EMoE") - _outside(at, "dense")
    inside = at["EMoE", "ID"] - at["dense", "ID"]
    return lab.verdict(
        gain,
        {"gain": gain > 0},
        unit=f"{POINTS} outside of the training data, EMoE − dense",
        table=at.rows("arm", sd=True),
        note=f"Inside: {inside.mean:+.2f}. Outside, against dense: {_against_dense(at, arms)}. {_setting(lab)}",
    )


@claim(
    "A1",
    "What helps is that the groups are those of the trained model and that tokens choose them",
    paper="a random clustering is compared in an ablation, structured dropout is not",
    criterion="outside of the training data, EMoE − random groups and EMoE − dropout of whole groups both above 0",
)
def clusters_matter(lab: Lab) -> ClaimResult:
    _, at = _tuned(lab, *ARMS)
    random = _outside(at, "EMoE") - _outside(at, "random groups")
    dropout = _outside(at, "EMoE") - _outside(at, "group dropout")
    return lab.verdict(
        random,
        {"random groups": random > 0, "group dropout": dropout > 0},
        unit=f"{POINTS} outside of the training data, EMoE − random groups",
        table=at.rows("arm", sd=True),
        note=f"Against dropout of whole groups, at the same rate and scaled: {dropout.mean:+.2f}. {_setting(lab)}",
    )


@claim(
    "C2",
    "The gain comes from training: what was tuned in groups is as good served whole",
    paper="LoRA tuning: 62.69 served in groups and whole on CoLA, the same on RTE and MRPC; at most 0.02 apart on OOD sets",
    criterion="tuned in groups: served whole − in groups within ±0.3 points, mean of all tests",
)
def served_whole(lab: Lab) -> ClaimResult:
    arms, at = _tuned(lab, "dense", "EMoE")
    whole = arms.only("EMoE").measure(accuracies, "whole", key="test").named("EMoE, served whole")
    share = arms.only("dense").measure(accuracies, "share", key="test").named("dense, served in groups")
    at = at | whole | share
    gap = _mean(at, "EMoE, served whole") - _mean(at, "EMoE")
    kept = _mean(at, "EMoE, served whole") - _mean(at, "dense")
    late = _mean(at, "dense, served in groups") - _mean(at, "dense")
    return lab.verdict(
        gap,
        {"not worse": gap >= -0.3, "not better": gap <= 0.3},
        unit=f"{POINTS}, tuned in groups: served whole − in groups",
        table=at.rows("arm", sd=True),
        note=f"Tuned in groups and served whole − dense: {kept.mean:+.2f}. Tuned dense and served with half of the groups − "
        f"served whole: {late.mean:+.2f}. {_setting(lab)}",
    )


@claim(
    "C3",
    "Which groups are used matters: the highest are better than none left out, the lowest are worse",
    paper="LoRA 83.69, top-k 84.61, not-top-k 83.49, bottom-k 83.21",
    criterion="mean of all tests: highest − dense and dense − lowest at or above 0, highest − lowest at least 0.5 points",
)
def choice_matters(lab: Lab) -> ClaimResult:
    _, at = _tuned(lab, "dense", "EMoE", lowest={"choose": "lowest"})
    highest, dense, lowest = (_mean(at, arm) for arm in ("EMoE", "dense", "lowest"))
    span = highest - lowest
    return lab.verdict(
        span,
        {"highest − dense": highest - dense >= 0, "dense − lowest": dense - lowest >= 0, "span": span >= 0.5},
        unit=f"{POINTS}, highest − lowest groups",
        table=at.rows("arm", sd=True),
        note=f"Highest − dense {(highest - dense).mean:+.2f}, dense − lowest {(dense - lowest).mean:+.2f}. {_setting(lab)}",
    )


@claim(
    "C4",
    "It does not depend on the number of groups or on how many are used",
    paper="16 and 32 groups, 1/8, 1/4 and 1/2 used: MRPC dense 89.97, EMoE 90.04 to 91.09; CoLA 63.40, 63.6 to 64.8; RTE "
    "72.92, 73.1 to 74.6",
    criterion="median over 8, 16 and 32 groups and 1/8, 1/4 and 1/2 of them used, minus dense, at or above 0; mean of all "
    "tests",
)
def robust_to_sizes(lab: Lab) -> ClaimResult:
    """All at the learning rate of the recipe, the dense one too."""
    grid = {
        f"E={groups}, k={groups // share}": {"groups": groups, "used": groups // share}
        for groups in (8, 16, 32)
        for share in (8, 4, 2)
    }
    arms = lab.arms(classification(lab.scale), {"dense": ARMS["dense"], **grid})
    at = arms.measure(accuracies, key="test")
    gains = {name: _mean(at, name) - _mean(at, "dense") for name in grid}
    median = combined(lambda values: sorted(values)[len(values) // 2], gains.values())
    listed = ", ".join(f"{name} {gain.mean:+.2f}" for name, gain in gains.items())
    return lab.verdict(
        median,
        {"median": median >= 0},
        unit=f"{POINTS}, median over the grid − dense",
        table=at.rows("arm", sd=True),
        note=f"{listed}. One learning rate for all.",
    )


def _tuned(lab: Lab, *names: str, **more: dict[str, Any]) -> tuple[Arms, Measured]:
    arms = lab.arms(
        classification(lab.scale), {**{name: ARMS[name] for name in names}, **more}, tuned_by=validation_score
    )
    return arms, arms.measure(accuracies, key="test")


def _outside(at: Measured, arm: str) -> Effect:
    return average(at[arm, test] for test in at.labels("test") if test != "ID")


def _mean(at: Measured, arm: str) -> Effect:
    return average(at[arm, test] for test in at.labels("test"))


def _against_dense(at: Measured, arms: Arms) -> str:
    gains = {name: _outside(at, name) - _outside(at, "dense") for name in arms if name != "dense"}
    return ", ".join(f"{name} {gain.mean:+.2f}" for name, gain in gains.items())


def _setting(lab: Lab) -> str:
    if lab.smoke:
        return "A transformer of 3 layers, its last two in 8 groups of which 4 are used; a made-up language."
    return (
        "MiniLM, its last two layers in 32 groups of which 16 are used; 160 labelled news items, 45 steps of 16; outside: "
        "typos, and posts of newsgroups on three of the topics."
    )
