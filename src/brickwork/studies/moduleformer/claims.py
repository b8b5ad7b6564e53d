"""The claims of ModuleFormer, and the questions that its code leaves open. The arms are those of
:mod:`brickwork.studies.moduleformer.setups`."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from brickwork.evaluation.significance import seed_interval
from brickwork.evaluation.usage import information_auc, information_test
from brickwork.studies.criterion import decide
from brickwork.studies.moduleformer.claims_surgery import extend, pruning
from brickwork.studies.moduleformer.setups import (
    DENSE_WIDTHS,
    LARGER,
    SHORT_STEPS,
    base,
    dense,
    domains_of,
    mean_nats,
    mixtures,
    use_by_mixture,
    windows_of,
)
from brickwork.studies.old import Claim, ClaimResult, Scale, Workbench, arm_cost

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
        needs=LARGER,
    )


# ---- balance and modularity ------------------------------------------------------------------------------------


def _balance_arms(scale: Scale, seeds: Sequence[int], bench: Workbench) -> dict[str, list[Any]]:
    return {
        "mutual information": mixtures(bench, scale, seeds, steps=SHORT_STEPS),
        "Switch": mixtures(bench, scale, seeds, steps=SHORT_STEPS, balance="switch"),
        "none": mixtures(bench, scale, seeds, steps=SHORT_STEPS, balance="none"),
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
        needs=LARGER,
    )


def modularity(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C4b: what modules know of a domain that nobody told, against the same routers before training."""
    from brickwork.representation.contract import build_system

    trained = mixtures(bench, scale, seeds)
    effects, table, passed = [], [], True
    for seed, arm in zip(seeds, trained):
        test = arm.data.test
        untrained = build_system("moduleformer", base(scale, seed).model, arm.data, seed)
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
        needs=LARGER,
    )


# ---- stick-breaking --------------------------------------------------------------------------------------------


def longer_contexts(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """SB: trained on 64 tokens, tested on up to 256: the loss of the last 32 tokens of a window."""
    arms = {
        "stick-breaking": mixtures(bench, scale, seeds, steps=SHORT_STEPS),
        "RoPE": mixtures(bench, scale, seeds, steps=SHORT_STEPS, position="rope"),
        "ALiBi": mixtures(bench, scale, seeds, steps=SHORT_STEPS, position="alibi"),
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
        needs=LARGER,
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
