"""The claims of Stationary Representations, with the comparisons and criteria of the spec sheet."""

from collections.abc import Sequence
from dataclasses import replace

from brickwork.studies.effects import Effect, Measured
from brickwork.studies.stationary_compat.measures import after_replacements, compatibility, kept_triplets
from brickwork.studies.stationary_compat.series import series
from brickwork.studies.stationary_compat.setups import (
    BCT,
    HOC,
    HOC_EXCLUDE,
    INDEPENDENT_LEARNED,
    INDEPENDENT_SIMPLEX,
    TUNED_LEARNED,
    TUNED_SIMPLEX,
    Method,
    SetUp,
    characters,
    one_more_class,
    replacements,
)
from brickwork.studies.study import Arms, ClaimResult, Lab, claim

BETTER_SERVERS = "server's models that are much better than the client's (the paper's: 100, 300, 600 classes of ImageNet32)"
_CROSS = "points of cross-test 1-NN accuracy on unseen classes"

# ---- C1: the simplex alone -------------------------------------------------------------------------------------


@claim(
    "C1",
    "Models that are trained apart are comparable if they share the fixed simplex",
    paper="the theorem: stationary representations satisfy the definition of compatibility optimally; no figure for "
    "this set-up",
    criterion="mean over seeds of cross(independent simplex) − cross(independent learnable) at least 15 points on the "
    "open set and on all classes, and self-tests at most 1 point lower",
)
def independent_models(lab: Lab) -> ClaimResult:
    at = _compared(lab, one_more_class(lab.scale), (INDEPENDENT_SIMPLEX, INDEPENDENT_LEARNED, BCT))
    cross, own = (_gains(at, INDEPENDENT_SIMPLEX, INDEPENDENT_LEARNED, what) for what in ("cross", "self"))
    return lab.verdict(
        cross["open set"],
        all(e.mean >= 15 for e in cross.values()) and all(e.mean >= -1 for e in own.values()),
        unit=f"{_CROSS}, independent simplex − independent learnable",
        table=at.rows("method", "searched", "seed"),
        note=f"On all classes {cross['all classes'].mean:+.1f}. Self-tests: {_signed(own)}.",
    )


@claim(
    "C1b",
    "The two inequalities of the definition hold more often with the simplex",
    paper="the definition (eq. 1), which the paper checks only through search",
    criterion="share of sampled triplets that keep both inequalities at least 10 points higher than with learnable "
    "classifiers, on the open set and on all classes",
)
def inequalities(lab: Lab) -> ClaimResult:
    arms = _arms(lab, one_more_class(lab.scale), (INDEPENDENT_SIMPLEX, INDEPENDENT_LEARNED))
    at = arms.measure(kept_triplets, key=("searched", "what"), arm="method")
    gains = _gains(at, INDEPENDENT_SIMPLEX, INDEPENDENT_LEARNED, "share")
    return lab.verdict(
        gains["open set"],
        all(e.mean >= 10 for e in gains.values()),
        unit="points of triplets of unseen classes that keep both inequalities, simplex − learnable",
        table=at.rows("searched", "method", "seed"),
        note=f"On all classes {gains['all classes'].mean:+.1f}.",
    )


# ---- C2: the loss towards the previous model -------------------------------------------------------------------


@claim(
    "C2",
    "Cross-entropy alone aligns class means; the loss towards the previous model (HOC) keeps fine-tuned "
    "models compatible",
    paper="the paper's sequel (2606.12488): higher-order dependencies; its tables were not at hand",
    criterion="cross(simplex + HOC) − cross(simplex), both fine-tuned with rehearsal, at least 3 points on the open set "
    "and on all classes, and self-tests at most 1 point lower",
)
def higher_order(lab: Lab) -> ClaimResult:
    at = _compared(lab, one_more_class(lab.scale), (HOC, TUNED_SIMPLEX, TUNED_LEARNED, HOC_EXCLUDE))
    cross, own = (_gains(at, HOC, TUNED_SIMPLEX, what) for what in ("cross", "self"))
    return lab.verdict(
        cross["open set"],
        all(e.mean >= 3 for e in cross.values()) and all(e.mean >= -1 for e in own.values()),
        unit=f"{_CROSS}, simplex + HOC − simplex, both fine-tuned",
        table=at.rows("method", "searched", "seed"),
        note=f"On all classes {cross['all classes'].mean:+.1f}. Self-tests: {_signed(own)}.",
    )


@claim(
    "C2m",
    "The zero mask of the authors' code is no worse than the textbook denominator",
    paper="none: eq. 4 multiplies masked similarities by 0, so each is in the sum as exp(0) = 1; the paper does not "
    "speak of it",
    criterion="the 95 % interval over seeds of cross(zero mask) − cross(exclude mask) on the open set lies at or "
    "above 0",
)
def zero_mask(lab: Lab) -> ClaimResult:
    """Masked pairs counted as exp(0) − left out."""
    at = _compared(lab, one_more_class(lab.scale), (HOC, HOC_EXCLUDE))
    cross, accuracy = (_gains(at, HOC, HOC_EXCLUDE, what) for what in ("cross", "AA"))
    return lab.verdict(
        cross["open set"],
        cross["open set"].mean >= 0,
        unit=f"{_CROSS}, zero mask − exclude mask",
        table=at.rows("method", "searched", "seed"),
        note=f"On all classes {cross['all classes'].mean:+.1f}. AA: {_signed(accuracy)}.",
    )


# ---- C3: replacements ------------------------------------------------------------------------------------------

_REPLACED = (HOC, TUNED_LEARNED, TUNED_SIMPLEX)


@claim(
    "C3",
    "With replaced server models, a series with simplex and HOC stays searchable where rehearsal alone does "
    "not",
    paper="CIFAR-100 → CIFAR-10, 7 tasks: AC 0.95 against 0.00, AA 68.90 against 35.18; 31 tasks: AC 0.65 / 0.00, AA "
    "68.07 / 30.32",
    criterion="AA(simplex + HOC) − AA(ER) at least 15 points, and AC higher",
)
def replacement(lab: Lab) -> ClaimResult:
    return _accuracy_over_replacements(lab, replacements(lab.scale), "all classes")


@claim(
    "C3b",
    "Right after a replacement the old index still answers, where rehearsal alone falls to chance",
    paper="the authors' matrix of ER on 7 tasks: cross-tests .08 – .12 right after replacements, chance .10",
    criterion="cross-tests right after replacements: ER at most 10 points above chance, and simplex + HOC at least 70 % "
    "of the old model's self-test",
)
def right_after(lab: Lab) -> ClaimResult:
    arms = _arms(lab, replacements(lab.scale), _REPLACED)
    after = arms.measure(after_replacements, key="what")
    left, chance = after[HOC.name, "left"], after[HOC.name, "chance"].mean
    cross = {name: after[method.name, "cross"].mean for name, method in _SHORT.items()}
    return lab.verdict(
        left,
        left.mean >= 70 and cross["ER"] <= chance + 10,
        above=70.0,
        unit="% of the old model's self-test that is left in the cross-test right after a replacement, simplex + HOC",
        table=_numbers(arms).rows("method", "searched", "seed"),
        note=f"Cross-tests right after: {', '.join(f'{name} {value:.1f} %' for name, value in cross.items())}; "
        f"chance {chance:.1f} %. Simplex without HOC keeps {after[TUNED_SIMPLEX.name, 'left'].mean:.1f} %.",
    )


@claim(
    "C3c",
    "A better server model improves the search of the old index at once",
    paper="AC 0.95 on 7 tasks: nearly every cross-test beats the old self-test",
    criterion="in at least half of the pairs right after a replacement, the cross-test is at least the old self-test",
)
def improves(lab: Lab) -> ClaimResult:
    arms = _arms(lab, replacements(lab.scale), _REPLACED)
    improved = arms.measure(after_replacements, key="what")[HOC.name, "improved"]
    return lab.verdict(
        improved,
        improved.mean >= 50,
        above=50.0,
        unit="% of the pairs right after a replacement in which the cross-test is at least the old self-test",
        table=_numbers(arms).rows("method", "searched", "seed"),
        needs=BETTER_SERVERS,
    )


@claim(
    "C4",
    "The same on classes that neither server nor client was trained on",
    paper="as C3: the paper's search is among unseen classes",
    criterion="as C3: AA(simplex + HOC) − AA(ER) at least 15 points, and AC higher",
    scales=("small",),
)
def replacement_open_set(lab: Lab) -> ClaimResult:
    needs = "models that know unseen classes: a difference of 15 points cannot be had where self-tests are near 25 %"
    return _accuracy_over_replacements(lab, characters(), "open set", needs)


def _accuracy_over_replacements(lab: Lab, setup: SetUp, searched: str, needs: str = "") -> ClaimResult:
    at = _compared(lab, setup, _REPLACED)
    gain = at[HOC.name, searched, "AA"] - at[TUNED_LEARNED.name, searched, "AA"]
    kept = {method.name: at[method.name, searched, "AC"].mean for method in (HOC, TUNED_LEARNED)}
    return lab.verdict(
        gain,
        gain.mean >= 15 and kept[HOC.name] > kept[TUNED_LEARNED.name],
        unit="points of average accuracy (AA), simplex + HOC − learnable with rehearsal (ER)",
        table=at.rows("method", "searched", "seed"),
        note=f"AC: {', '.join(f'{name} {value:.2f}' for name, value in kept.items())}.",
        needs=needs,
    )


# ---- ablations -------------------------------------------------------------------------------------------------


@claim(
    "A1",
    "The published λ = 0.1 and μ = 10 are as good as others",
    paper="λ = 0.1, μ = 10 in the authors' configuration",
    criterion="no other λ (0.5, 0.9) or μ (3, 30) has a mean AA that is more than 2 points higher",
)
def ablation(lab: Lab) -> ClaimResult:
    """Scale of the logits, slots and memory in the table; all with the learning rate that suits the published setting."""
    setup = one_more_class(lab.scale)
    encoder = setup.run.model.encoder

    def wider(slots: int) -> SetUp:
        model = replace(setup.run.model, encoder=replace(encoder, embedding_dim=slots - 1))
        return replace(setup, run=replace(setup.run, model=model))

    slots = encoder.embedding_dim + 1
    published = f"published (λ = 0.1, μ = 10, s = 1, K = {slots}, memory {setup.memory})"
    losses = {
        "λ = 0.5": (setup, replace(HOC, ce_weight=0.5)),
        "λ = 0.9": (setup, replace(HOC, ce_weight=0.9)),
        "μ = 3": (setup, replace(HOC, hoc_scale=3.0)),
        "μ = 30": (setup, replace(HOC, hoc_scale=30.0)),
    }
    others = {
        "s = 4": (setup, replace(HOC, logit_scale=4.0)),
        "s = 16": (setup, replace(HOC, logit_scale=16.0)),
        f"K = {slots // 2}": (wider(slots // 2), HOC),
        f"K = {2 * slots}": (wider(2 * slots), HOC),
        "no memory": (replace(setup, memory=0), HOC),
    }
    settings = {published: (setup, HOC), **losses, **others}
    arms = lab.arms(
        {name: series(lab, *setting, like=settings[published]) for name, setting in settings.items()}
    )
    at = arms.measure(compatibility, key=("searched", "what"), arm="setting")
    accuracy = {name: at.over(setting=name, what="AA") for name in settings}
    best = max(losses, key=lambda name: accuracy[name].mean)
    gain = accuracy[published] - accuracy[best]
    return lab.verdict(
        gain,
        gain.mean >= -2,
        above=-2.0,
        unit="points of AA (mean of both sets), λ = 0.1 and μ = 10 − the best other λ or μ of the table",
        table=at.rows("setting", "searched", "seed"),
        note=f"The best other is {best}. AA: {', '.join(f'{name} {e.mean:.1f}' for name, e in accuracy.items())}.",
    )


# ---- what is compared ------------------------------------------------------------------------------------------

_SHORT = {"ER": TUNED_LEARNED, "simplex": TUNED_SIMPLEX, "simplex + HOC": HOC}


def _arms(lab: Lab, setup: SetUp, methods: Sequence[Method]) -> Arms:
    return lab.arms({method.name: series(lab, setup, method) for method in methods})


def _numbers(arms: Arms) -> Measured:
    return arms.measure(compatibility, key=("searched", "what"), arm="method")


def _compared(lab: Lab, setup: SetUp, methods: Sequence[Method]) -> Measured:
    return _numbers(_arms(lab, setup, methods))


def _gains(at: Measured, ours: Method, theirs: Method, what: str) -> dict[str, Effect]:
    """By what was searched."""
    return {name: at[ours.name, name, what] - at[theirs.name, name, what] for name in at.labels("searched")}


def _signed(effects: dict[str, Effect]) -> str:
    return ", ".join(f"{name} {effect.mean:+.1f}" for name, effect in effects.items())
