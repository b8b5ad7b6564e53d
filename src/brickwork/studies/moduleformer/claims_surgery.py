"""The claims of ModuleFormer about modules added and pruned: C2 and C3, listed in
:mod:`brickwork.studies.moduleformer.claims`."""

import copy
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from brickwork.studies.criterion import decide
from brickwork.studies.moduleformer.setups import (
    CODE,
    DENSE_WIDTHS,
    LARGER,
    at_random,
    base,
    continued_cost,
    dense,
    go_on,
    mean_nats,
    nats_at,
    of_domain,
    trainable,
    with_low_rank,
    without_hidden,
)
from brickwork.studies.old import ClaimResult, Scale, Workbench
from brickwork.systems.moduleformer.growth import add_modules, concentrating, unfreeze
from brickwork.systems.moduleformer.pruning import pruned_copy, shares_of_use

# ---- continual learning ----------------------------------------------------------------------------------------


def extend(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C2: prose first, then code: all weights, low-rank adapters, new modules; forgetting at equal code loss."""
    names = ("all weights", "adapters", "new modules")
    arms: dict[str, list[Any]] = {name: [] for name in names}
    effects, table, passed = [], [], True
    started = []
    for seed in seeds:
        start = bench.train(base(scale, seed, also=()))
        started.append(start)
        mixed = bench.data(base(scale, seed))
        new, new_test = of_domain(mixed.train, CODE), of_domain(mixed.validation, CODE)
        old_test = start.data.validation
        grown = add_modules(start.system, attention=2, feed_forward=4)
        # The rank whose adapters come closest to as many trained numbers.
        rank = min(
            range(1, 17), key=lambda r: abs(trainable(with_low_rank(start.system, r)) - trainable(grown))
        )
        systems = {
            "all weights": copy.deepcopy(start.system),
            "adapters": with_low_rank(start.system, rank),
            "new modules": grown,
        }
        run = base(scale, seed)
        found = {
            name: go_on(system, new, run, scale, old_test=old_test, new_test=new_test)
            for name, system in systems.items()
        }
        before = mean_nats(start.system, old_test)
        # All are compared at the loss on code that the weakest of them reaches.
        level = max(min(point[2] for point in arm.curve) for arm in found.values())
        forgot = {name: nats_at(arm.curve, level) - before for name, arm in found.items()}
        last = {name: arm.curve[-1][2] for name, arm in found.items()}
        effects.append(forgot["all weights"] - forgot["new modules"])
        passed &= forgot["new modules"] <= 0.5 * forgot["all weights"]
        passed &= last["new modules"] <= last["adapters"] + 0.05
        for name in names:
            arms[name].append(found[name])
            table += [
                {"seed": seed, "arm": name, "step": step, "prose": round(old, 4), "code": round(now, 4)}
                for step, old, now in found[name].curve
            ]
            table.append(
                {"seed": seed, "arm": name, "trained numbers": trainable(systems[name]),
                 "forgetting at equal code loss": round(forgot[name], 4), "code loss compared": round(level, 4)}
            )  # fmt: skip
    return decide(
        effects,
        passed,
        unit="nats per byte of prose forgotten at equal loss on code, all weights − new modules",
        arms=[continued_cost(name, found) for name, found in arms.items()],
        table=table,
        note="The table has the whole curves: forgetting against learning, not one point. All arms go on from the same "
        f"{len(started)} trainings on prose.",
        needs=LARGER,
    )


# ---- pruning ---------------------------------------------------------------------------------------------------


def pruning(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C3: fine-tuned on code with and without load concentration, modules pruned by use, at random, dense by size."""
    shares = (0.25, 0.5, 0.75)
    effects, table, passed = [], [], True
    arms: dict[str, list[Any]] = {"plain": [], "concentrated": [], "dense": []}
    for seed in seeds:
        start = bench.train(base(scale, seed))
        twin = dense(bench, scale, [seed], DENSE_WIDTHS[-1])[0]
        code, test = of_domain(start.data.train, CODE), of_domain(start.data.test, CODE)
        held = of_domain(start.data.validation, CODE)
        tuned = {
            "plain": unfreeze(copy.deepcopy(start.system)),
            "concentrated": concentrating(start.system, 0.05),
            "dense": copy.deepcopy(twin.system),
        }
        run = base(scale, seed)
        for name, system in tuned.items():
            arms[name].append(go_on(system, code, run, scale))
        before = {name: mean_nats(system, test) for name, system in tuned.items()}
        use = {name: shares_of_use(tuned[name], held) for name in ("plain", "concentrated")}
        rises: dict[tuple[str, float], float] = {}
        for share in shares:
            for name in ("plain", "concentrated"):
                smaller, _ = pruned_copy(tuned[name], use[name], share)
                rises[name, share] = mean_nats(smaller, test) - before[name]
                controls = [
                    mean_nats(pruned_copy(tuned[name], drawn, share)[0], test) - before[name]
                    for drawn in at_random(use[name], seed)
                ]
                rises[f"{name}, random", share] = fmean(controls)
                left = [sum(p.numel() for p in model.parameters()) for model in (smaller, tuned[name])]
                table.append(
                    {"seed": seed, "arm": name, "pruned": share, "nats before": round(before[name], 4),
                     "rise": round(rises[name, share], 4), "rise at random": round(fmean(controls), 4),
                     "parameters left": round(left[0] / left[1], 3)}
                )  # fmt: skip
            rise = mean_nats(without_hidden(tuned["dense"], share), test) - before["dense"]
            table.append({"seed": seed, "arm": "dense, smallest units", "pruned": share,
                          "nats before": round(before["dense"], 4), "rise": round(rise, 4)})  # fmt: skip
        ours, control = rises["concentrated", 0.5], rises["concentrated, random", 0.5]
        effects.append(control - ours)
        passed &= ours <= 0.1 and ours <= 0.25 * control and ours < rises["plain", 0.5]
    return decide(
        effects,
        passed,
        unit="nats per byte of code at half of the modules, rise at random − rise by use",
        arms=[continued_cost(name, found) for name, found in arms.items()],
        table=table,
        note="No training after pruning. Modules are counted on validation texts, losses are of test texts.",
        needs=LARGER,
    )
