"""The claims of ERW at equal operations, the warm-up counted, with the encoders that know nothing as controls.

Fréchet distances are in the features of a judge that no arm knows; gains are paired by seed. Every arm has the learning rate
that suits plain SiT best on validation data, which is the arm that the others are to beat.
"""

from brickwork.studies.bench import Trained
from brickwork.studies.erw.setups import CHECKPOINTS, WARM_SHARE, Course, arms, judge_of, results, speed
from brickwork.studies.study import ClaimResult, Lab, claim

DISTANCE = "Fréchet distance"


@claim(
    "C1",
    "A warm-up from a frozen encoder reaches the quality of plain training in fewer operations, the warm-up counted",
    paper="11.5 times faster than REPA and 70 times than SiT, warm-up not counted (third version); 40 times (first version)",
    criterion="operations of ERW until it has SiT's last distance at most 0.8 of SiT's",
)
def fewer_operations(lab: Lab) -> ClaimResult:
    trained = lab.arms(arms(lab, "SiT", "REPA", "ERW"))
    at = trained.measure(results, key="measure")
    share = trained.each(speed, key="arm")
    counted, without = share["ERW",], share["ERW, without",]
    encoder = at["ERW", "encoder TFLOP"] / at["SiT", "TFLOP"]
    return lab.verdict(
        counted,
        {"share of the operations": counted <= 0.8},
        unit="operations of ERW until SiT's last distance / operations of SiT",
        table=at.rows("arm", "measure", sd=True),
        note=f"Not counting the warm-up: {without.mean:.2f}. REPA: {share['REPA',].mean:.2f}. The encoder's own training "
        f"and answers, not counted: {encoder.mean:.2f} of SiT's operations. An arm that never gets there counts as 2. "
        f"{CHECKPOINTS} checkpoints. {_judged(lab)}",
    )


@claim(
    "C2",
    "With equal operations, ERW draws better than REPA and than no help at all",
    paper="SiT-XL/2, 50,000 iterations (after 100,000 of warm-up): FID 25.0 against 52.3 of REPA",
    criterion="distance of ERW − REPA and of ERW − SiT below 0",
)
def better_at_equal_cost(lab: Lab) -> ClaimResult:
    at = lab.arms(arms(lab, "SiT", "REPA", "ERW", "warm-up alone")).measure(results, key="measure")
    against = {name: at["ERW", "frechet"] - at[name, "frechet"] for name in ("REPA", "SiT")}
    velocity = at["ERW", "velocity"] - at["SiT", "velocity"]
    alone = at["warm-up alone", "frechet"] - at["SiT", "frechet"]
    return lab.verdict(
        against["REPA"],
        {name: gain < 0 for name, gain in against.items()},
        unit=f"{DISTANCE}, ERW − REPA",
        table=at.rows("arm", "measure", sd=True),
        note=f"Against SiT: {against['SiT'].mean:+.3g}; velocity loss {velocity.mean:+.4f}. A warm-up and no comparison "
        f"after it, against SiT: {alone.mean:+.3g}. {_judged(lab)}",
    )


@claim(
    "C4",
    "Only the first blocks are worth a warm-up",
    paper="SiT-B/2, 50,000 iterations, FID: blocks 0–8 54.2, 1–9 69.1, 2–10 67.7, 3–11 67.5",
    criterion="distance with the first two blocks warmed − with the third and fourth below 0",
)
def early_blocks(lab: Lab) -> ClaimResult:
    at = lab.arms(arms(lab, "SiT", "ERW", "ERW, late blocks")).measure(results, key="measure")
    gain = at["ERW", "frechet"] - at["ERW, late blocks", "frechet"]
    return lab.verdict(
        gain,
        {"first blocks": gain < 0},
        unit=f"{DISTANCE}, first − late blocks warmed",
        table=at.rows("arm", "measure", sd=True),
        note=_judged(lab),
    )


@claim(
    "A1",
    "What helps is what the encoder knows, not that there is a target",
    paper="not tested; the reading that it gives of its result",
    criterion="distance of ERW − ERW with an encoder that was never trained, and − with raw pixels as target, below 0",
)
def knowledge_matters(lab: Lab) -> ClaimResult:
    names = ("SiT", "ERW", "ERW, random encoder", "ERW, pixels")
    at = lab.arms(arms(lab, *names)).measure(results, key="measure")
    random = at["ERW", "frechet"] - at["ERW, random encoder", "frechet"]
    pixels = at["ERW", "frechet"] - at["ERW, pixels", "frechet"]
    return lab.verdict(
        random,
        {"random encoder": random < 0, "pixels": pixels < 0},
        unit=f"{DISTANCE}, ERW − the same with an untrained encoder",
        table=at.rows("arm", "measure", sd=True),
        note=f"Against pixels: {pixels.mean:+.3g}. {_judged(lab)}",
    )


@claim(
    "C5",
    "The comparison is to fade while the generator learns",
    paper="c₀·2^(−k/50,000); an ablation of the paper has λ = 0.5 as best without saying whether it stays",
    criterion="distance with λ halved every quarter − with λ as it is below 0",
)
def fading(lab: Lab) -> ClaimResult:
    at = lab.arms(arms(lab, "SiT", "ERW", "ERW, λ stays")).measure(results, key="measure")
    gain = at["ERW", "frechet"] - at["ERW, λ stays", "frechet"]
    return lab.verdict(
        gain,
        {"fading": gain < 0},
        unit=f"{DISTANCE}, λ fades − λ stays",
        table=at.rows("arm", "measure", sd=True),
        note=_judged(lab),
    )


@claim(
    "C8",
    "Hidden states are like the encoder's after the warm-up, less so early in the training, and then again more",
    paper="CKNNA by layer: a dip early in the second phase, then a recovery",
    criterion="CKNNA of the last block warmed: after the warm-up − lowest at a later checkpoint, and last − lowest, above 0",
)
def dip_and_recovery(lab: Lab) -> ClaimResult:
    at = lab.arms(arms(lab, "ERW")).measure(course_of_likeness, key="when")
    dip = at["ERW", "after the warm-up"] - at["ERW", "lowest after it"]
    recovery = at["ERW", "at the end"] - at["ERW", "lowest after it"]
    return lab.verdict(
        dip,
        {"dip": dip > 0, "recovery": recovery > 0},
        unit="CKNNA of the second block with the encoder: after the warm-up − lowest later",
        table=at.rows("when", sd=True),
        note=f"Recovery {recovery.mean:+.3f}. {_judged(lab)}",
    )


def course_of_likeness(trained: Trained) -> dict[str, float]:
    """CKNNA of the last block that was warmed, on clean images."""
    course = trained.system
    block = course.system.config.warm_to - 1
    values = [layers[block] for layers in course.layers]
    before = min(len(values) - 1, _warm_checkpoints(course))
    after = values[before + 1 :] or values[-1:]
    return {"after the warm-up": values[before], "lowest after it": min(after), "at the end": values[-1]}


def _warm_checkpoints(course: Course) -> int:
    """The last checkpoint of the warm-up: what came later had spent more on the rest."""
    warm = float(course.system.spent.parts[1]) / 1e12
    return sum(cost <= warm * (1 + 1e-9) for cost, _, _ in course.curve) - 1


def _judged(lab: Lab) -> str:
    return f"A fifth of the operations ({WARM_SHARE:.0%}) is warm-up. The judge is right in {judge_of(lab).accuracy:.1%}."
