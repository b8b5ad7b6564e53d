"""The claims of ModuleFormer, and the questions that its code leaves open. The arms are those of
:mod:`brickwork.studies.moduleformer.setups` and :mod:`brickwork.studies.moduleformer.surgery`."""

from brickwork.studies.effects import Fact
from brickwork.studies.moduleformer import setups, surgery
from brickwork.studies.moduleformer.setups import LARGER, SHORT_STEPS, base, dense
from brickwork.studies.study import ClaimResult, Lab, Scale, claim, cost_of

SCALES: tuple[Scale, ...] = ("smoke", "small", "gpu")

# ---- quality against active FLOPs ------------------------------------------------------------------------------


@claim(
    "C1",
    "At equal active FLOPs a mixture is better than a dense model, and as good as a dense one of a third more",
    paper="2.0 to 2.4 times the throughput of dense models of like quality: MoLM-350M-4B (Wikitext PPL 15.15) 71,017 "
    "tokens/s, Pythia-1.4B (14.71) 35,559, GPT-Neo-1.3B (16.16) 32,857; 0.3 to 0.5 PPL behind Pythia",
    criterion="dense model of equal layer FLOPs − mixture at least 0.02 nats; dense model of 4/3 of its FLOPs − mixture "
    "above 0 (the sheet's ratio 0.75; the paper's factor, twice the FLOPs, stands beside)",
    scales=SCALES,
    designed="gpu",
    needs=LARGER,
)
def quality_per_flop(lab: Lab) -> ClaimResult:
    """The rate of every arm is chosen for it from one grid."""
    factors = {"dense, equal FLOPs": 1.0, "dense, 4/3": 4 / 3, "dense, twice": 2.0}
    twins = {arm: setups.tuned(lab, **dense(setups.dense_width(lab, f))) for arm, f in factors.items()}
    arms = lab.arms({"mixture": setups.tuned(lab), **twins})
    nats = arms.measure(setups.held_out_nats)
    equal, third, twice = (nats[twin] - nats["mixture"] for twin in twins)
    table = []
    for arm, trained in arms.items():
        cost, system = cost_of(arm, trained), trained[0].system
        table.append({
            "model": arm,
            "nats per byte": round(nats[arm].mean, 4),
            "layer FLOPs per token": system.decoder.layer_flops(system.config.context // 2),
            "parameters": sum(p.numel() for p in system.parameters()),
            "training pieces/s": round(cost.examples / cost.seconds, 1),
        })  # fmt: skip
    return lab.verdict(
        equal,
        {"equal FLOPs": equal >= 0.02, "4/3 of the FLOPs": third > 0},
        unit="nats per byte, dense model of equal layer FLOPs − mixture",
        table=table,
        note=f"Against a dense model of twice the FLOPs, the paper's factor: {twice.mean:+.3f} nats per byte. The mixture "
        "holds about four times the parameters of its dense twin.",
    )


# ---- balance and modularity ------------------------------------------------------------------------------------


@claim(
    "C4a",
    "The mutual information loss uses modules evenly and decisively; Switch only evenly",
    paper="a figure; no numbers. The lead author's next model dropped it for the Switch loss",
    criterion="with it: dead modules ≤ 2 %, H(m)/log N ≥ 0.9, H(m|x) below that of Switch, loss at most 0.02 nats from it",
    scales=SCALES,
    designed="gpu",
    needs=LARGER,
)
def balance(lab: Lab) -> ClaimResult:
    ours = "mutual information"
    losses = {ours: {}, "Switch": {"balance": "switch"}, "none": {"balance": "none"}}
    arms = lab.arms(base(lab.scale, steps=SHORT_STEPS), losses, tuned_by=setups.validation_score)
    at = arms.measure(setups.usage, key="what", arm="loss")
    sharper = at["Switch", "token_entropy"] - at[ours, "token_entropy"]
    worse = at[ours, "nats"] - at["Switch", "nats"]
    return lab.verdict(
        sharper,
        {
            "share of dead modules": at[ours, "dead"] <= 0.02,
            "H(m)/log N": at[ours, "marginal_entropy"] >= 0.9,
            "H(m|x), Switch − ours": sharper > 0,
            "nats, ours − Switch": worse <= 0.02,
            "the same": worse >= -0.02,
        },
        unit="of log N: H(m|x) with Switch − with mutual information",
        table=at.rows("loss", digits=4),
    )


@claim(
    "C4b",
    "Modules specialise in domains that nobody labelled",
    paper="a figure; no numbers",
    criterion="NMI(module, domain) of the best mixture above that before training; AUC of a logistic probe on module "
    "histograms of 64-byte windows ≥ 0.9; for every seed p < 0.01 by permuting labels of windows",
    scales=SCALES,
    designed="gpu",
    needs=LARGER,
)
def modularity(lab: Lab) -> ClaimResult:
    arms = lab.arms({"mutual information": setups.tuned(lab)})
    best = arms.measure(setups.best_mixture, key="what")
    gain, p, auc, before = (best["mutual information", what] for what in ("gain", "p", "AUC", "AUC at init"))
    return lab.verdict(
        gain,
        {
            "gain in NMI": gain > 0,
            "AUC": auc >= 0.9,
            "p of every seed below 0.01": Fact(max(p.values) < 0.01, "each is a test of its own"),
        },
        unit="NMI of module and domain, best mixture − best before training",
        table=arms.measure(setups.specialisation, key=("mixture", "what")).rows("seed", "mixture", digits=4),
        note="A window is 64 bytes. The domain (prose or Python) is never shown to the model. Routers tell the "
        f"domains apart before any training, so p and AUC ({before.mean:.2f} then, {auc.mean:.2f} after) test little; "
        "the gain does.",
    )


# ---- modules added and pruned ----------------------------------------------------------------------------------


@claim(
    "C2",
    "New modules learn a new domain and forget less than fine-tuning everything",
    paper="claimed against LoRA on GPT-Neo; numbers not found",
    criterion="forgetting with new modules at most half of that with all weights at equal loss on code, and loss on code "
    "at most 0.05 nats above that of low-rank adapters of equal size",
    scales=SCALES,
    designed="gpu",
    needs=LARGER,
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
        {
            "half of all weights' − new modules'": 0.5 * everything - ours >= 0,
            "behind adapters": behind <= 0.05,
        },
        unit="nats per byte of prose forgotten at equal loss on code, all weights − new modules",
        table=[*curves, *sizes],
        note="The table has the whole curves: forgetting against learning, not one point. All arms go on from the same "
        f"{len(lab.seeds)} trainings on prose.",
    )


@claim(
    "C3",
    "After fine-tuning with load concentration half of the modules can go",
    paper="claimed with HumanEval pass@k at several ratios; numbers not found",
    criterion="at 50 %: rise at most 0.1 nats, at most a quarter of that of random pruning, and smaller than without load "
    "concentration",
    scales=SCALES,
    designed="gpu",
    needs=LARGER,
)
def pruning(lab: Lab) -> ClaimResult:
    arms = lab.arms({arm: surgery.tuned_on_code(lab, arm) for arm in ("plain", "concentrated", "dense")})
    at = arms.only("plain", "concentrated").measure(surgery.rises, key=("pruned", "what"))
    dense_at = arms.only("dense").measure(surgery.dense_rises, key=("pruned", "what"))
    at |= dense_at.named("dense, smallest units")
    ours, control = at["concentrated", 0.5, "rise"], at["concentrated", 0.5, "rise at random"]
    return lab.verdict(
        control - ours,
        {
            "rise": ours <= 0.1,
            "a quarter of random − ours": 0.25 * control - ours >= 0,
            "without concentration − with": at["plain", 0.5, "rise"] - ours > 0,
        },
        unit="nats per byte of code at half of the modules, rise at random − rise by use",
        table=at.rows("seed", "pruned", "arm", digits=4),
        note="No training after pruning. Modules are counted on validation texts, losses are of test texts.",
    )


# ---- stick-breaking --------------------------------------------------------------------------------------------


@claim(
    "SB",
    "Stick-breaking attention goes on to longer contexts than it was trained on",
    paper="trained at 2^11, works at 2^14 with better perplexity (arXiv 2410.17980)",
    criterion="rise of the loss of the last 32 tokens from 64 to 256 tokens at most 0.02 nats, and below that of RoPE",
    scales=SCALES,
    designed="gpu",
    needs=LARGER,
)
def longer_contexts(lab: Lab) -> ClaimResult:
    positions = {"stick-breaking": {}, "RoPE": {"position": "rope"}, "ALiBi": {"position": "alibi"}}
    arms = lab.arms(base(lab.scale, steps=SHORT_STEPS), positions, tuned_by=setups.validation_score)
    at = arms.measure(setups.last_nats, key="context", arm="position")
    rise = {name: at[name, "256 tokens"] - at[name, "64 tokens"] for name in positions}
    gap = rise["RoPE"] - rise["stick-breaking"]
    return lab.verdict(
        gap,
        {"rise": rise["stick-breaking"] <= 0.02, "RoPE − stick-breaking": gap > 0},
        unit="nats per byte, rise from 64 to 256 tokens, RoPE − stick-breaking",
        table=at.rows("position", digits=4),
        note="The same last 32 tokens of each text, with more or less before them.",
    )
