"""The claims of ModuleFormer, and the questions that its code leaves open. The arms are those of
:mod:`brickwork.studies.moduleformer.setups` and :mod:`brickwork.studies.moduleformer.surgery`."""

from brickwork.studies.moduleformer import setups, surgery
from brickwork.studies.moduleformer.setups import DENSE_WIDTHS, LARGER, SHORT_STEPS, base, dense
from brickwork.studies.study import ClaimResult, Lab, claim, cost_of

# ---- quality against active FLOPs ------------------------------------------------------------------------------


@claim(
    "C1",
    "At equal active parameters a mixture is better than a dense model, and as good as a dense one of at "
    "least twice its FLOPs",
    paper="2.0 to 2.4 times the throughput of dense models of like quality: MoLM-350M-4B (Wikitext PPL 15.15) 71,017 "
    "tokens/s, Pythia-1.4B (14.71) 35,559, GPT-Neo-1.3B (16.16) 32,857; 0.3 to 0.5 PPL behind Pythia",
    criterion="dense twin − mixture at least 0.02 nats with a 95 % interval above 0, and its layer FLOPs at "
    "most 0.75 of those of the smallest dense model (F = 128, 256, 512) that is as good; ≤ 0.5 is the factor",
)
def quality_per_flop(lab: Lab) -> ClaimResult:
    twins = {f"dense {width}": dense(width) for width in DENSE_WIDTHS}
    first, *_, widest = twins
    arms = lab.arms(base(lab.scale), {"mixture": {}, **twins})
    systems = {arm: trained[0].system for arm, trained in arms.items()}
    context = systems["mixture"].config.context // 2
    flops = {arm: system.decoder.layer_flops(context) for arm, system in systems.items()}
    nats = arms.measure(setups.held_out_nats)
    gap = nats[first] - nats["mixture"]
    better = gap.mean >= 0.02 and gap.interval is not None and gap.interval[0] > 0
    as_good = [twin for twin in twins if nats[twin].mean <= nats["mixture"].mean]
    if as_good:
        ratio = flops["mixture"] / flops[as_good[0]]
        comparison = (
            f"The smallest dense model that is as good ({as_good[0]}) spends {1 / ratio:.2f} times its FLOPs"
        )
    else:
        ratio = 0.0
        comparison = f"No dense model up to {flops[widest] / flops['mixture']:.1f} times the FLOPs is as good"
    strength = (
        "supports the paper's factor" if ratio <= 0.5 else "partly" if ratio <= 0.75 else "not at this scale"
    )
    table = []
    for arm, trained in arms.items():
        cost = cost_of(arm, trained)
        table.append({
            "model": arm,
            "nats per byte": round(nats[arm].mean, 4),
            "layer FLOPs per token": flops[arm],
            "parameters": sum(p.numel() for p in systems[arm].parameters()),
            "training pieces/s": round(cost.examples / cost.seconds, 1),
        })  # fmt: skip
    return lab.verdict(
        gap,
        better and ratio <= 0.75,
        unit="nats per byte, dense twin of equal active parameters − mixture",
        table=table,
        note=f"{comparison} ({strength}).",
        needs=LARGER,
    )


# ---- balance and modularity ------------------------------------------------------------------------------------


@claim(
    "C4a",
    "The mutual information loss uses modules evenly and decisively; Switch only evenly",
    paper="a figure; no numbers. The lead author's next model dropped it for the Switch loss",
    criterion="with it: dead modules ≤ 2 %, H(m)/log N ≥ 0.9, H(m|x) below that of Switch at equal loss (± 0.02 nats)",
)
def balance(lab: Lab) -> ClaimResult:
    ours = "mutual information"
    losses = {ours: {}, "Switch": {"balance": "switch"}, "none": {"balance": "none"}}
    arms = lab.arms(base(lab.scale, steps=SHORT_STEPS), losses)
    at = arms.measure(setups.usage, key="what", arm="loss")
    sharper = at["Switch", "token_entropy"] - at[ours, "token_entropy"]
    even = at[ours, "dead"].mean <= 0.02 and at[ours, "marginal_entropy"].mean >= 0.9
    equal = abs(at[ours, "nats"].mean - at["Switch", "nats"].mean) <= 0.02
    return lab.verdict(
        sharper,
        even and sharper.mean > 0 and equal,
        unit="of log N: H(m|x) with Switch − with mutual information",
        table=at.rows("loss", digits=4),
        note=f"Criteria met: even use {even}, more decisive than Switch {sharper.mean > 0}, equal quality {equal}.",
        needs=LARGER,
    )


@claim(
    "C4b",
    "Modules specialise in domains that nobody labelled",
    paper="a figure; no numbers",
    criterion="for every seed: NMI(module, domain) of the best mixture above that before training, p < 0.01 by "
    "permuting labels of windows, and AUC of a logistic probe on module histograms of 64-byte windows ≥ 0.9",
)
def modularity(lab: Lab) -> ClaimResult:
    arms = lab.arms(base(lab.scale), {"mutual information": {}})
    best = arms.measure(setups.best_mixture, key="what")
    gain, p, auc = (best["mutual information", what] for what in ("gain", "p", "AUC"))
    return lab.verdict(
        gain,
        min(gain.values) > 0 and max(p.values) < 0.01 and min(auc.values) >= 0.9,
        unit="NMI of module and domain, best mixture − best before training",
        table=arms.measure(setups.specialisation, key=("mixture", "what")).rows("seed", "mixture", digits=4),
        note="A window is 64 bytes. The domain (prose or Python) is never shown to the model.",
        needs=LARGER,
    )


# ---- modules added and pruned ----------------------------------------------------------------------------------


@claim(
    "C2",
    "New modules learn a new domain and forget less than fine-tuning everything",
    paper="claimed against LoRA on GPT-Neo; numbers not found",
    criterion="for every seed: forgetting with new modules at most half of that with all weights at equal loss on code, "
    "and loss on code within 0.05 nats of low-rank adapters of equal size",
)
def extend(lab: Lab) -> ClaimResult:
    ways = ("all weights", "adapters", "new modules")
    arms = lab.arms({way: surgery.prose_then_code(lab, way) for way in ways})
    at = arms.each(surgery.forgetting, key=("arm", "what"))
    everything, ours = (at[way, "forgetting at equal code loss"] for way in ("all weights", "new modules"))
    behind = at["new modules", "code loss at the end"] - at["adapters", "code loss at the end"]
    curves = [
        {"seed": trained.seed, "arm": way, "step": step, "prose": round(old, 4), "code": round(new, 4)}
        for way in ways
        for trained in arms[way]
        for step, old, new in trained.system.curve
    ]
    sizes = [
        row | {"trained parameters": int(row["trained parameters"])}
        for row in at.rows("seed", "arm", digits=4)
    ]
    return lab.verdict(
        everything - ours,
        max((ours - 0.5 * everything).values) <= 0 and max(behind.values) <= 0.05,
        unit="nats per byte of prose forgotten at equal loss on code, all weights − new modules",
        table=[*curves, *sizes],
        note="The table has the whole curves: forgetting against learning, not one point. All arms go on from the same "
        f"{len(lab.seeds)} trainings on prose.",
        needs=LARGER,
    )


@claim(
    "C3",
    "After fine-tuning with load concentration half of the modules can go",
    paper="claimed with HumanEval pass@k at several ratios; numbers not found",
    criterion="for every seed at 50 %: rise at most 0.1 nats, at most a quarter of that of random pruning, and smaller "
    "than without load concentration",
)
def pruning(lab: Lab) -> ClaimResult:
    arms = lab.arms({arm: surgery.tuned_on_code(lab, arm) for arm in ("plain", "concentrated", "dense")})
    at = arms.only("plain", "concentrated").measure(surgery.rises, key=("pruned", "what"))
    dense_at = arms.only("dense").measure(surgery.dense_rises, key=("pruned", "what"))
    at |= dense_at.named("dense, smallest units")
    ours, control = at["concentrated", 0.5, "rise"], at["concentrated", 0.5, "rise at random"]
    small = max(ours.values) <= 0.1 and max((ours - 0.25 * control).values) <= 0
    below_plain = min((at["plain", 0.5, "rise"] - ours).values) > 0
    return lab.verdict(
        control - ours,
        small and below_plain,
        unit="nats per byte of code at half of the modules, rise at random − rise by use",
        table=at.rows("seed", "pruned", "arm", digits=4),
        note="No training after pruning. Modules are counted on validation texts, losses are of test texts.",
        needs=LARGER,
    )


# ---- stick-breaking --------------------------------------------------------------------------------------------


@claim(
    "SB",
    "Stick-breaking attention goes on to longer contexts than it was trained on",
    paper="trained at 2^11, works at 2^14 with better perplexity (arXiv 2410.17980)",
    criterion="rise of the loss of the last 32 tokens from 64 to 256 tokens at most 0.02 nats, and below that of RoPE",
)
def longer_contexts(lab: Lab) -> ClaimResult:
    positions = {"stick-breaking": {}, "RoPE": {"position": "rope"}, "ALiBi": {"position": "alibi"}}
    arms = lab.arms(base(lab.scale, steps=SHORT_STEPS), positions)
    at = arms.measure(setups.last_nats, key="context", arm="position")
    rise = {name: at[name, "256 tokens"] - at[name, "64 tokens"] for name in positions}
    gap = rise["RoPE"] - rise["stick-breaking"]
    return lab.verdict(
        gap,
        rise["stick-breaking"].mean <= 0.02 and gap.mean > 0,
        unit="nats per byte, rise from 64 to 256 tokens, RoPE − stick-breaking",
        table=at.rows("position", digits=4),
        note="The same last 32 tokens of each text, with more or less before them.",
        needs=LARGER,
    )
