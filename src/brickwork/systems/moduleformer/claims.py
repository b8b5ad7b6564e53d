"""The claims of ModuleFormer, and the questions that its code leaves open. The arms are those of
:mod:`brickwork.systems.moduleformer.arms`."""

import copy
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from brickwork.evaluation.claims import Claim, ClaimResult, Scale, Workbench, arm_cost
from brickwork.evaluation.criterion import decide
from brickwork.evaluation.significance import seed_interval
from brickwork.evaluation.usage import information_auc, information_test
from brickwork.systems.moduleformer.arms import (
    CODE,
    DENSE_WIDTHS,
    at_random,
    base,
    continued_cost,
    dense,
    domains_of,
    go_on,
    mean_nats,
    mixtures,
    nats_at,
    of_domain,
    trainable,
    use_by_mixture,
    windows_of,
    with_low_rank,
    without_hidden,
)
from brickwork.systems.moduleformer.surgery import (
    add_modules,
    concentrating,
    pruned_copy,
    shares_of_use,
    unfreeze,
)

_LARGER = "more width, depth and training than two cores give"


# ---- quality against active FLOPs ------------------------------------------------------------------------------


def quality_per_flop(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C1: dense twin of equal active parameters − mixture, and the smallest dense model that is as good."""
    moe = mixtures(bench, scale, seeds)
    twins = {width: dense(bench, scale, seeds, width) for width in DENSE_WIDTHS}
    context = moe[0].system.config.context // 2
    losses = {"mixture": [mean_nats(t.system, t.data.test) for t in moe]}
    losses |= {f"dense {w}": [mean_nats(t.system, t.data.test) for t in found] for w, found in twins.items()}
    flops = {"mixture": moe[0].system.decoder.layer_flops(context)}
    flops |= {f"dense {w}": found[0].system.decoder.layer_flops(context) for w, found in twins.items()}
    gaps = [d - m for d, m in zip(losses[f"dense {DENSE_WIDTHS[0]}"], losses["mixture"])]
    interval = seed_interval(gaps)
    better = fmean(gaps) >= 0.02 and interval.low is not None and interval.low > 0
    as_good = [n for n in losses if n != "mixture" and fmean(losses[n]) <= fmean(losses["mixture"])]
    ratio = flops["mixture"] / flops[as_good[0]] if as_good else 0.0
    said = (
        f"The smallest dense model that is as good ({as_good[0]}) spends {1 / ratio:.2f} times its FLOPs"
        if as_good
        else f"No dense model up to {flops[f'dense {DENSE_WIDTHS[-1]}'] / flops['mixture']:.1f} times the FLOPs is as good"
    )
    strength = (
        "supports the paper's factor" if ratio <= 0.5 else "partly" if ratio <= 0.75 else "not at this scale"
    )
    trained = {"mixture": moe} | {f"dense {w}": found for w, found in twins.items()}
    costs = {name: arm_cost(name, found) for name, found in trained.items()}
    table = [
        {
            "model": name,
            "nats per byte": round(fmean(values), 4),
            "layer FLOPs per token": flops[name],
            "parameters": sum(p.numel() for p in trained[name][0].system.parameters()),
            "training pieces/s": round(costs[name].examples / costs[name].seconds, 1),
        }
        for name, values in losses.items()
    ]
    return decide(
        gaps,
        better and ratio <= 0.75,
        unit="nats per byte, dense twin of equal active parameters − mixture",
        arms=list(costs.values()),
        table=table,
        note=f"{said} ({strength}).",
        needs=_LARGER,
    )


# ---- balance and modularity ------------------------------------------------------------------------------------


def _balance_arms(scale: Scale, seeds: Sequence[int], bench: Workbench) -> dict[str, list[Any]]:
    return {
        "mutual information": mixtures(bench, scale, seeds),
        "Switch": mixtures(bench, scale, seeds, balance="switch"),
        "none": mixtures(bench, scale, seeds, balance="none"),
    }


def _usage(trained: Any) -> dict[str, float]:
    """Means over mixtures on test texts."""
    import torch

    system, test = trained.system, trained.data.test
    with torch.no_grad():
        stats = {n: float(v) for n, v in system.loss(system.collate(test.columns)).stats.items()}
    use = use_by_mixture(system, test)
    shares = [table.sum(0) / table.sum() for table in use.values()]
    dead = fmean([float((share < 0.1 / len(share)).mean()) for share in shares])
    return {**stats, "dead": dead, "nats": mean_nats(system, test)}


def balance(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C4a: dead modules, H(m) and H(m|x) with no loss, mutual information and Switch."""
    arms = _balance_arms(scale, seeds, bench)
    found = {name: [_usage(t) for t in trained] for name, trained in arms.items()}
    mean = {name: {k: fmean([u[k] for u in rows]) for k in rows[0]} for name, rows in found.items()}
    ours, switch = mean["mutual information"], mean["Switch"]
    even = ours["dead"] <= 0.02 and ours["marginal_entropy"] >= 0.9
    sharper = ours["token_entropy"] < switch["token_entropy"]
    equal = abs(ours["nats"] - switch["nats"]) <= 0.02
    effects = [
        s["token_entropy"] - m["token_entropy"] for m, s in zip(found["mutual information"], found["Switch"])
    ]
    return decide(
        effects,
        even and sharper and equal,
        unit="of log N: H(m|x) with Switch − with mutual information",
        arms=[arm_cost(name, trained) for name, trained in arms.items()],
        table=[
            {"loss": name, **{k: round(v, 4) for k, v in values.items()}} for name, values in mean.items()
        ],
        note=f"Criteria met: even use {even}, more decisive than Switch {sharper}, equal quality {equal}.",
        needs=_LARGER,
    )


def modularity(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C4b: what modules know of a domain that nobody told, against the same routers before training."""
    from brickwork.core.seeding import seed_everything
    from brickwork.systems.moduleformer.system import build

    trained = mixtures(bench, scale, seeds)
    effects, table, passed = [], [], True
    for seed, arm in zip(seeds, trained):
        test = arm.data.test
        seed_everything(seed)
        untrained = build(base(scale, seed).model, arm.data)
        labels = domains_of(test)
        before = use_by_mixture(untrained.eval(), test)
        tests = {
            name: information_test(counts, labels)
            for name, counts in use_by_mixture(arm.system, test).items()
        }
        aucs = {
            name: information_auc(counts, labels) for name, counts in use_by_mixture(arm.system, test).items()
        }
        start = {
            name: information_test(counts, labels, permutations=0).information
            for name, counts in before.items()
        }
        best = max(tests, key=lambda name: tests[name].information)
        effects.append(tests[best].information - max(start.values()))
        passed &= tests[best].p_value < 0.01 and effects[-1] > 0 and max(aucs.values()) >= 0.9
        for name, result in tests.items():
            table.append(
                {
                    "seed": seed,
                    "mixture": name,
                    "NMI": round(result.information, 4),
                    "by chance": round(result.by_chance, 4),
                    "p": result.p_value,
                    "at init": round(start[name], 4),
                    "AUC": round(aucs[name], 4),
                }
            )
    return decide(
        effects,
        passed,
        unit="NMI of module and domain, best mixture − best before training",
        arms=[arm_cost("mutual information", trained)],
        table=table,
        note="A window is 64 bytes. The domain (prose or Python) is never shown to the model.",
        needs=_LARGER,
    )


# ---- continual learning ----------------------------------------------------------------------------------------


def extend(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C2: prose first, then code: all weights, low-rank adapters, new modules; forgetting at equal code loss."""
    names = ("all weights", "adapters", "new modules")
    arms: dict[str, list[Any]] = {name: [] for name in names}
    effects, table, passed = [], [], True
    started = []
    for seed in seeds:
        start = bench.train(base(scale, seed, source="wikitext2"))
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
        needs=_LARGER,
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
        needs=_LARGER,
    )


# ---- stick-breaking --------------------------------------------------------------------------------------------


def longer_contexts(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """SB: trained on 64 tokens, tested on up to 256: the loss of the last 32 tokens of a window."""
    arms = {
        "stick-breaking": mixtures(bench, scale, seeds),
        "RoPE": mixtures(bench, scale, seeds, position="rope"),
        "ALiBi": mixtures(bench, scale, seeds, position="alibi"),
    }
    contexts = (64, 128, 256)
    losses: dict[tuple[str, int], list[float]] = {}
    for name, trained in arms.items():
        for context in contexts:
            # A neighbouring text of the same 32 tokens at the end, with more before it.
            losses[name, context] = [
                _last_nats(t.system, windows_of(t.data.test, 4), context) for t in trained
            ]
    rise = {name: [b - a for a, b in zip(losses[name, 64], losses[name, 256])] for name in arms}
    effects = [r - s for r, s in zip(rise["RoPE"], rise["stick-breaking"])]
    return decide(
        effects,
        fmean(rise["stick-breaking"]) <= 0.02 and fmean(effects) > 0,
        unit="nats per byte, rise from 64 to 256 tokens, RoPE − stick-breaking",
        arms=[arm_cost(name, trained) for name, trained in arms.items()],
        table=[
            {"position": name, **{f"{c} tokens": round(fmean(losses[name, c]), 4) for c in contexts}}
            for name in arms
        ],
        note="The same last 32 tokens of each text, with more or less before them.",
        needs=_LARGER,
    )


def _last_nats(system: Any, texts: Any, context: int) -> float:
    """Nats of the last 32 tokens of each text's first 257 tokens, given the ``context`` tokens that end there."""
    import torch

    rows = [system.tokenizer.encode(text).ids[:257] for text in texts.columns["input"]]
    ids = torch.tensor([row[-(context + 1) :] for row in rows if len(row) == 257])
    sums = 0.0
    with torch.no_grad():
        for part in ids.split(32):
            nats, _ = system({"ids": part, "mask": torch.ones(len(part), context, dtype=torch.bool)})
            sums += float(nats[:, -32:].double().sum())
    return sums / (32 * max(len(ids), 1))


CLAIMS = (
    Claim(
        id="C1",
        statement="At equal active parameters a mixture is better than a dense model, and as good as a dense one of at "
        "least twice its FLOPs",
        paper="2.0 to 2.4 times the throughput of dense models of like quality: MoLM-350M-4B (Wikitext PPL 15.15) 71,017 "
        "tokens/s, Pythia-1.4B (14.71) 35,559, GPT-Neo-1.3B (16.16) 32,857; 0.3 to 0.5 PPL behind Pythia",
        criterion="dense twin − mixture at least 0.02 nats with a 95 % interval above 0, and its layer FLOPs at "
        "most 0.75 of those of the smallest dense model (F = 128, 256, 512) that is as good; ≤ 0.5 is the factor",
        run=quality_per_flop,
    ),
    Claim(
        id="C4a",
        statement="The mutual information loss uses modules evenly and decisively; Switch only evenly",
        paper="a figure; no numbers. The lead author's next model dropped it for the Switch loss",
        criterion="with it: dead modules ≤ 2 %, H(m)/log N ≥ 0.9, H(m|x) below that of Switch at equal loss (± 0.02 nats)",
        run=balance,
    ),
    Claim(
        id="C4b",
        statement="Modules specialise in domains that nobody labelled",
        paper="a figure; no numbers",
        criterion="for every seed: NMI(module, domain) of the best mixture above that before training, p < 0.01 by "
        "permuting labels of windows, and AUC of a logistic probe on module histograms of 64-byte windows ≥ 0.9",
        run=modularity,
    ),
    Claim(
        id="C2",
        statement="New modules learn a new domain and forget less than fine-tuning everything",
        paper="claimed against LoRA on GPT-Neo; numbers not found",
        criterion="for every seed: forgetting with new modules at most half of that with all weights at equal loss on code, "
        "and loss on code within 0.05 nats of low-rank adapters of equal size",
        run=extend,
    ),
    Claim(
        id="C3",
        statement="After fine-tuning with load concentration half of the modules can go",
        paper="claimed with HumanEval pass@k at several ratios; numbers not found",
        criterion="for every seed at 50 %: rise at most 0.1 nats, at most a quarter of that of random pruning, and smaller "
        "than without load concentration",
        run=pruning,
    ),
    Claim(
        id="SB",
        statement="Stick-breaking attention goes on to longer contexts than it was trained on",
        paper="trained at 2^11, works at 2^14 with better perplexity (arXiv 2410.17980)",
        criterion="rise of the loss of the last 32 tokens from 64 to 256 tokens at most 0.02 nats, and below that of RoPE",
        run=longer_contexts,
    ),
)
