"""The claims of Stationary Representations, with the comparisons and criteria of the spec sheet."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

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
    methods = (INDEPENDENT_SIMPLEX, INDEPENDENT_LEARNED, BCT)
    return _better_cross_tests(lab, methods, 15.0, "independent simplex − independent learnable")


@claim(
    "C1b",
    "The two inequalities of the definition hold more often with the simplex",
    paper="the definition (eq. 1), which the paper checks only through search",
    criterion="share of sampled triplets that keep both inequalities at least 10 points higher than with learnable "
    "classifiers, on the open set and on all classes",
)
def inequalities(lab: Lab) -> ClaimResult:
    arms = _arms(lab, one_more_class(lab.scale), (INDEPENDENT_SIMPLEX, INDEPENDENT_LEARNED))
    at = arms.measure(kept_triplets, key=("searched", "quality"), arm="method")
    gains = _gains(at, INDEPENDENT_SIMPLEX, INDEPENDENT_LEARNED, "share")
    return lab.verdict(
        gains["open set"],
        all(gain.mean >= 10 for gain in gains.values()),
        unit="points of triplets of unseen classes that keep both inequalities, simplex − learnable",
        table=at.rows("searched", "method", "seed"),
        note=f"On all classes {gains['all classes'].mean:+.1f}.",
    )


# ---- C2: the loss towards the previous model -------------------------------------------------------------------


@claim(
    "C2",
    "Cross-entropy alone aligns class means; the loss towards the previous model (HOC) keeps fine-tuned models compatible",
    paper="the paper's sequel (2606.12488): higher-order dependencies; its tables were not at hand",
    criterion="cross(simplex + HOC) − cross(simplex), both fine-tuned with rehearsal, at least 3 points on the open set "
    "and on all classes, and self-tests at most 1 point lower",
)
def higher_order(lab: Lab) -> ClaimResult:
    methods = (HOC, TUNED_SIMPLEX, TUNED_LEARNED, HOC_EXCLUDE)
    return _better_cross_tests(lab, methods, 3.0, "simplex + HOC − simplex, both fine-tuned")


def _better_cross_tests(lab: Lab, methods: Sequence[Method], points: float, unit: str) -> ClaimResult:
    """Cross-tests of the first method at least so many ``points`` above the second's, self-tests at most one below."""
    at = _qualities(_arms(lab, one_more_class(lab.scale), methods))
    cross, own = (_gains(at, methods[0], methods[1], quality) for quality in ("cross", "self"))
    return lab.verdict(
        cross["open set"],
        all(gain.mean >= points for gain in cross.values()) and all(gain.mean >= -1 for gain in own.values()),
        unit=f"{_CROSS}, {unit}",
        table=_rows(at),
        note=f"On all classes {cross['all classes'].mean:+.1f}. Self-tests: {_signed(own)}.",
    )


@claim(
    "C2m",
    "The zero mask of the authors' code is no worse than the textbook denominator",
    paper="none: eq. 4 multiplies masked similarities by 0, so each is in the sum as exp(0) = 1; the paper does not "
    "speak of it",
    criterion="the 95 % interval over seeds of cross(zero mask) − cross(exclude mask) on the open set lies at or above 0",
)
def zero_mask(lab: Lab) -> ClaimResult:
    """Masked pairs counted as exp(0) − left out."""
    at = _qualities(_arms(lab, one_more_class(lab.scale), (HOC, HOC_EXCLUDE)))
    cross, accuracy = (_gains(at, HOC, HOC_EXCLUDE, quality) for quality in ("cross", "AA"))
    return lab.verdict(
        cross["open set"],
        cross["open set"].mean >= 0,
        unit=f"{_CROSS}, zero mask − exclude mask",
        table=_rows(at),
        note=f"On all classes {cross['all classes'].mean:+.1f}. AA: {_signed(accuracy)}.",
    )


# ---- C3: replacements ------------------------------------------------------------------------------------------

_REPLACED = {"simplex + HOC": HOC, "ER": TUNED_LEARNED, "simplex": TUNED_SIMPLEX}


@claim(
    "C3",
    "With replaced server models, a series with simplex and HOC stays searchable where rehearsal alone does not",
    paper="CIFAR-100 → CIFAR-10, 7 tasks: AC 0.95 against 0.00, AA 68.90 against 35.18; 31 tasks: AC 0.65 / 0.00, AA "
    "68.07 / 30.32",
    criterion="AA(simplex + HOC) − AA(ER) at least 15 points, and AC higher",
)
def replacement(lab: Lab) -> ClaimResult:
    return _more_accurate(lab, replacements(lab.scale), "all classes")


@claim(
    "C3b",
    "Right after a replacement the old index still answers, where rehearsal alone falls to chance",
    paper="the authors' matrix of ER on 7 tasks: cross-tests .08 – .12 right after replacements, chance .10",
    criterion="cross-tests right after replacements: ER at most 10 points above chance, and simplex + HOC at least 70 % "
    "of the old model's self-test",
)
def right_after(lab: Lab) -> ClaimResult:
    arms = _arms(lab, replacements(lab.scale), _REPLACED.values())
    after = arms.measure(after_replacements, key="quality")
    left, chance = after[HOC.name, "left"], after[HOC.name, "chance"].mean
    cross = {name: after[_REPLACED[name].name, "cross"].mean for name in ("ER", "simplex", "simplex + HOC")}
    return lab.verdict(
        left,
        left.mean >= 70 and cross["ER"] <= chance + 10,
        above=70.0,
        unit="% of the old model's self-test that is left in the cross-test right after a replacement, simplex + HOC",
        table=_rows(_qualities(arms)),
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
    arms = _arms(lab, replacements(lab.scale), _REPLACED.values())
    improved = arms.measure(after_replacements, key="quality")[HOC.name, "improved"]
    return lab.verdict(
        improved,
        improved.mean >= 50,
        above=50.0,
        unit="% of the pairs right after a replacement in which the cross-test is at least the old self-test",
        table=_rows(_qualities(arms)),
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
    return _more_accurate(lab, characters(), "open set", needs)


def _more_accurate(lab: Lab, setup: SetUp, searched: str, needs: str = "") -> ClaimResult:
    """Average accuracy and compatibility over replacements, simplex + HOC against ER."""
    at = _qualities(_arms(lab, setup, _REPLACED.values()))
    gain = _gains(at, HOC, TUNED_LEARNED, "AA")[searched]
    kept, kept_by_er = (at[method.name, searched, "AC"].mean for method in (HOC, TUNED_LEARNED))
    return lab.verdict(
        gain,
        gain.mean >= 15 and kept > kept_by_er,
        unit="points of average accuracy (AA), simplex + HOC − learnable with rehearsal (ER)",
        table=_rows(at),
        note=f"AC: {HOC.name} {kept:.2f}, {TUNED_LEARNED.name} {kept_by_er:.2f}.",
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
    slots = setup.run.model.encoder.embedding_dim + 1

    def loss(**options: float) -> tuple[SetUp, Method]:
        return setup, replace(HOC, options=options)

    def room(slots: int) -> tuple[SetUp, Method]:
        model = setup.run.model
        model = replace(model, encoder=replace(model.encoder, embedding_dim=slots - 1))
        return replace(setup, run=replace(setup.run, model=model)), HOC

    published = f"published (λ = 0.1, μ = 10, s = 1, K = {slots}, memory {setup.memory})"
    losses = {f"λ = {value}": loss(ce_weight=value) for value in (0.5, 0.9)}
    losses |= {f"μ = {value:g}": loss(hoc_scale=value) for value in (3.0, 30.0)}
    settings = {published: loss(), **losses}
    settings |= {f"s = {value:g}": loss(logit_scale=value) for value in (4.0, 16.0)}
    settings |= {f"K = {value}": room(value) for value in (slots // 2, 2 * slots)}
    settings["no memory"] = replace(setup, memory=0), HOC
    arms = {name: series(lab, *setting, like=settings[published]) for name, setting in settings.items()}
    at = lab.arms(arms).measure(compatibility, key=("searched", "quality"), arm="setting")
    accuracy = {name: at.over(setting=name, quality="AA") for name in settings}
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


def _arms(lab: Lab, setup: SetUp, methods: Iterable[Method]) -> Arms:
    return lab.arms({method.name: series(lab, setup, method) for method in methods})


def _qualities(arms: Arms) -> Measured:
    return arms.measure(compatibility, key=("searched", "quality"), arm="method")


def _rows(at: Measured) -> list[dict[str, Any]]:
    return at.rows("method", "searched", "seed")


def _gains(at: Measured, ours: Method, theirs: Method, quality: str) -> dict[str, Effect]:
    """By what is searched."""
    return {
        name: at[ours.name, name, quality] - at[theirs.name, name, quality] for name in at.labels("searched")
    }


def _signed(effects: dict[str, Effect]) -> str:
    return ", ".join(f"{name} {effect.mean:+.1f}" for name, effect in effects.items())
