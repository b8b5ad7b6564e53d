"""The frame: effects and tables against numbers worked out by hand, the verdict's branches on a bench of known effects."""

import math
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import pytest
from scipy import stats

from brickwork.core.errors import DataError, MissingExtraError
from brickwork.studies.bench import Bench, Trained
from brickwork.studies.effects import AnyOf, Effect, Fact, Measured, average, combined, premise
from brickwork.studies.study import ArmCost, ClaimResult, Lab, claim, claims_in, cost_of, verdict_of


@dataclass(frozen=True)
class Model:
    gain: float = 0.0


@dataclass(frozen=True)
class Train:
    learning_rate: float = 0.1


@dataclass(frozen=True)
class Run:
    """What the frame changes of a run configuration."""

    model: Any = Model()
    train: Any = Train()
    seed: int = 0


class KnownBench(Bench):
    """The "system" of a run is a number: the gain of its arm, plus a disturbance that its seed decides."""

    disturbances = (0.0, 0.5, -0.5, 0.2, -0.2)

    def train(self, run):
        return Trained(run.model.gain + self.disturbances[run.seed], None, run.seed, 10, 0.5, 0.1)

    def tuned(self, run, score):
        return replace(run, train=Train(0.2), model=Model(run.model.gain + 100))


def lab(seeds=5, **more):
    return Lab("smoke", tuple(range(seeds)), KnownBench(), **more)


def value(trained):
    return trained.system


def by_size(trained, sizes):
    return {size: size * trained.system for size in sizes}


def difference(gain, criterion, **more):
    """The result of a claim whose effect is ``gain`` plus what the seeds do."""
    here = lab(**more)
    at = here.arms(
        Run(), ours={"gain": gain}, theirs=lambda seed: Trained(0.0, None, seed, 10, 0.5, 0.1)
    ).measure(value)
    effect = at["ours"] - at["theirs"]
    return here.verdict(effect, criterion(effect), unit="points", table=[])


EXACT = Fact(True, "counted"), Fact(False, "counted")


# The disturbances have the mean 0, the standard deviation 0.38 and so a half width of 0.47 (n = 5).
@pytest.mark.parametrize(
    ("gain", "criterion", "verdict"),
    [
        (1.0, lambda e: {"gain": e > 0}, "supported"),
        (0.3, lambda e: {"gain": e > 0}, "undecided"),  # met by the mean, the interval covers 0
        (-0.3, lambda e: {"gain": e > 0}, "undecided"),  # missed by the mean only
        (-1.0, lambda e: {"gain": e > 0}, "refuted"),
        (10.3, lambda e: {"gain": e >= 10}, "undecided"),  # a minimum is a limit as well
        (10.5, lambda e: {"gain": e >= 10}, "supported"),
        (9.0, lambda e: {"gain": e >= 10}, "refuted"),
        (-1.0, lambda e: {"loss": e >= -2}, "supported"),  # a loss of at most 2
        (-1.8, lambda e: {"loss": e >= -2}, "undecided"),
        (4.0, lambda e: {"change": e <= 5}, "supported"),
        (6.0, lambda e: {"change": e < 5}, "refuted"),
        (0.0, lambda e: {"low": e > -1, "high": e < 1}, "supported"),  # equal: the whole interval in the band
        (0.0, lambda e: {"low": e > -0.4, "high": e < 0.4}, "undecided"),
        (1.0, lambda e: {"gain": e > 0, "all classes": EXACT[0]}, "supported"),
        (1.0, lambda e: {"gain": e > 0, "all classes": EXACT[1]}, "refuted"),
        (0.3, lambda e: {"gain": e > 0, "all classes": EXACT[1]}, "refuted"),  # one missed is enough
        (
            1.0,
            lambda e: {"gain": e > 0, "half": 0.5 * e >= 0.4},
            "undecided",
        ),  # a side condition has an interval
    ],
)
def test_every_branch_of_the_verdict(gain, criterion, verdict):
    result = difference(gain, criterion)
    assert result.verdict == verdict
    low, high = stats.t.interval(0.95, 4, loc=result.effect, scale=stats.sem(result.effects))
    assert result.interval == pytest.approx((low, high))
    excused = difference(gain, criterion, excuse="100 classes")
    assert excused.verdict == ("not at this scale" if verdict == "refuted" else verdict)
    assert ("Needs 100 classes." in excused.note) == (verdict == "refuted")


@pytest.mark.parametrize(
    ("gains", "outcome"),
    [
        ((1.0, -1.0), "met"),
        ((1.0, 0.3), "met"),
        ((0.3, -1.0), "open"),
        ((0.3, 0.2), "open"),
        ((-1.0, -1.0), "missed"),
    ],
)
def test_one_of_several_conditions_is_enough(gains, outcome):
    effects = [Effect(tuple(gain + d for d in KnownBench.disturbances)) for gain in gains]
    either = AnyOf(tuple(effect > 0 for effect in effects))
    assert either.outcome == outcome
    (kept,) = lab().verdict(effects[0], {"either": either}, unit="", table=[]).conditions
    assert (kept.outcome, kept.effect) == (outcome, None)
    assert f"> 0 ({(effects[1] > 0).outcome}, {gains[1]:+.3g})" in kept.asked


def test_a_record_keeps_each_condition_with_its_numbers():
    result = difference(1.0, lambda e: {"gain": e >= 0.5, "twice": 2 * e < 1, "all classes": EXACT[0]})
    gain, twice, exact = result.conditions
    assert (gain.name, gain.asked, gain.outcome) == ("gain", "≥ 0.5", "met")
    assert (twice.asked, twice.outcome, twice.effect) == ("< 1", "missed", pytest.approx(2.0))
    assert twice.interval == pytest.approx(tuple(2 * bound for bound in result.interval))
    assert (exact.asked, exact.outcome, exact.effect) == ("(no interval: counted)", "met", None)


@pytest.mark.parametrize(
    ("scale", "designed", "verdict"),
    [
        ("smoke", "small", "not at this scale"),
        ("small", "small", "refuted"),
        ("gpu", "small", "refuted"),
        ("small", "gpu", "not at this scale"),
        ("smoke", "smoke", "refuted"),
    ],
)
def test_nothing_excuses_at_the_scale_that_a_claim_is_designed_for(scale, designed, verdict):
    def check(lab):
        return lab.verdict(Effect((-1.0, -1.1)), {"gain": Effect((-1.0, -1.1)) > 0}, unit="", table=[])

    of = {"scales": ("smoke", "small", "gpu"), "designed": designed}
    excused = claim("C1", "says", paper="p", criterion="c", needs="100 classes", **of)(check)
    assert excused.run(scale, range(2), Bench()).verdict == verdict
    bare = claim("C1", "says", paper="p", criterion="c", **of)(check)
    assert bare.run(scale, range(2), Bench()).verdict == "refuted"


def test_one_seed_decides_no_difference():
    one = Effect((9.0,))
    assert verdict_of({"gain": one > 0}) == "undecided"
    assert verdict_of({"count": EXACT[0]}) == "supported"
    assert verdict_of({"count": EXACT[1]}) == "refuted"


@pytest.mark.parametrize(
    ("learnt", "gain", "verdict"),
    [
        ((1.0, 1.0), (2.0, 2.1), "supported"),
        ((1.0, 1.0), (-2.0, -2.1), "refuted"),
        ((0.5, 0.51), (2.0, 2.1), "undecided"),
        ((0.5, 0.51), (-2.0, -2.1), "undecided"),
        ((0.5, 1.4), (-2.0, -2.1), "undecided"),
        ((0.5, 1.4), (2.0, 2.1), "undecided"),
    ],
)
def test_a_claim_whose_premise_is_missed_is_not_refuted_but_not_tested(learnt, gain, verdict):
    def check(lab):
        criterion = {"accuracy": premise(Effect(learnt) >= 0.99), "gain": Effect(gain) > 0}
        return lab.verdict(Effect(gain), criterion, unit="", table=[])

    result = claim("C1", "says", paper="p", criterion="c")(check).run("small", range(2), Bench())
    assert result.verdict == verdict
    assert result.conditions[0].asked == "≥ 0.99 (premise)"
    assert ("it was not tested" in result.note) == (learnt == (0.5, 0.51))
    excused = claim("C1", "says", paper="p", criterion="c", needs="more steps")(check).run(
        "smoke", range(2), Bench()
    )
    assert (excused.verdict == "not at this scale") == ("missed" in [c.outcome for c in result.conditions])


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_an_interval_that_touches_the_limit_is_right_unless_the_condition_is_strict(limit):
    same = Effect((limit,) * 3)
    assert [c.outcome for c in (same >= limit, same <= limit)] == ["met", "met"]
    assert [c.outcome for c in (same > limit, same < limit)] == ["missed", "missed"]


@pytest.mark.parametrize("wrong", [lambda e: 0 < e < 5, lambda e: e > 0 and e < 5, lambda e: not e >= 0])
def test_a_condition_is_not_taken_as_true_or_false(wrong):
    with pytest.raises(TypeError, match="give each condition of a criterion to the verdict by itself"):
        wrong(Effect((1.0, 2.0)))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("excuse", ["", "100 classes"])
def test_an_effect_that_is_not_finite_decides_nothing(wrong, excuse):
    effect = Effect((wrong, 1.0, -math.inf))
    for headline in (effect, Effect((1.0, 1.1, 1.2))):
        result = lab(excuse=excuse).verdict(headline, {"gain": effect > 0}, unit="points", table=[])
        assert result.verdict == "undecided"
        assert result.note == "The effect of some seed is not a finite number."
    assert lab().verdict(effect, {"count": EXACT[0]}, unit="", table=[]).interval is None


def test_what_is_divided_by_zero_has_no_number_in_that_seed_alone():
    ratio = Effect((1.0, 2.0)) / Effect((0.0, 1.0))
    assert math.isnan(ratio.values[0])
    assert ratio.values[1] == 2.0
    assert all(map(math.isnan, (ratio.mean, ratio.spread, average([ratio, ratio]).values[0])))
    (row,) = Measured((0, 1), ("arm",), {("ours",): ratio}).rows(sd=True)
    assert all(map(math.isnan, row.values()))


def test_effects_are_paired_by_seed():
    a, b = Effect((1.0, 2.0, 6.0)), Effect((1.0, 4.0, 4.0))
    assert (a - b).values == (0.0, -2.0, 2.0)
    assert (a / b).values == (1.0, 0.5, 1.5)
    assert (a + 1).values == (2.0, 3.0, 7.0)
    assert (100 * (a * b)).values == (100.0, 800.0, 2400.0)
    assert (a.mean, Effect((1.0, 3.0)).spread, Effect((1.0,)).spread) == (3.0, 2**0.5, 0.0)
    assert average([a, b]).values == (1.0, 3.0, 5.0)
    assert combined(max, [a, b]).values == (1.0, 4.0, 6.0)
    # 1, 2, 3: mean 2, standard error 1/√3, t(2) = 4.3027 (a table of the distribution).
    assert Effect((1.0, 2.0, 3.0)).interval == pytest.approx(
        (2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3
    )
    with pytest.raises(ValueError, match="shorter"):
        a - Effect((1.0,))


def test_measures_and_the_rows_of_a_table():
    here = lab(2)
    at = here.arms(Run(), low={"gain": 1.0}, high={"gain": 2.0}).measure(by_size, (10, 2), key="size")
    assert at["high", 10].values == (20.0, 25.0)
    assert at.labels("size") == (10, 2)
    assert at.over(arm="low", size=(2, 10)).values == (6.0, 9.0)
    assert ("low", 2) in at
    assert ("low", 3) not in at
    assert at.rows("size") == [{"size": 2, "low": 2.5, "high": 4.5}, {"size": 10, "low": 12.5, "high": 22.5}]
    assert at.where(arm="low", size=2).rows("seed", "arm") == [
        {"seed": 0, "arm": "low", "2": 2.0},
        {"seed": 1, "arm": "low", "2": 3.0},
    ]
    assert at.where(arm="low").rows("size", sd=True)[0] == {"size": 2, "low": 2.5, "low sd": 0.71}
    both = at.where(arm="low").named("first") | at.where(arm="high")
    assert both.labels("arm") == ("first", "high")


def test_a_mean_over_nothing_is_refused():
    at = lab(2).arms(Run(), low={}).measure(by_size, (10, 2), key="size")
    with pytest.raises(KeyError, match=r"nothing was measured at \{'size': 3\}; the places are .*'low', 10"):
        at.over(size=3)


@pytest.mark.parametrize("keys", [{0: "ab", 1: "a"}, {0: "a", 1: "ab"}])
def test_keys_that_not_every_seed_has_are_refused(keys):
    arms = lab(2).arms(Run(), low={})
    with pytest.raises(ValueError, match=r"the keys \['b'\] of arm 'low' are .* one of the seeds 0 and 1"):
        arms.measure(lambda trained: dict.fromkeys(keys[trained.seed], 1.0))


def test_arms_of_one_name_are_all_counted_and_each_training_once():
    here = lab(2)
    trained = here.arms(Run(), ours={})["ours"]
    here.arms({"ours": lambda seed: trained[seed]})
    here.arms(Run(), ours={"gain": 1.0})
    (cost,) = here.verdict(Effect((1.0,)), {}, unit="", table=[]).arms
    assert (cost.trainings, cost.examples) == (4, 40)


def test_measures_of_several_arms_at_once():
    arms = lab(2).arms(Run(), low={"gain": 1.0}, high={"gain": 2.0})
    at = arms.each(lambda models: {"sum": models["low"].system + models["high"].system}, key="what")
    assert at["sum"].values == (3.0, 4.0)
    assert arms.each(lambda models: models["high"].system).rows("seed") == [
        {"seed": 0, "value": 2.0},
        {"seed": 1, "value": 2.5},
    ]


def test_arms_are_what_differs_or_a_run_or_a_function_and_are_tuned_one_by_one():
    here = lab(1)
    own = Trained(7.0, None, 0, 10, 0.5)
    arms = here.arms(
        Run(), {"two words": {"gain": 1.0}}, run=Run(model=Model(5.0)), own=lambda seed: own, tuned_by=value
    )
    assert {name: several[0].system for name, several in arms.items()} == {
        "two words": 101.0,
        "run": 105.0,
        "own": 7.0,
    }
    result = here.verdict(Effect((1.0,)), {}, unit="points", table=[])
    assert [arm.name for arm in result.arms] == ["two words", "run", "own"]
    assert [
        arm.name for arm in here.verdict(Effect((1.0,)), {}, unit="", table=[], costs=arms.only("own")).arms
    ] == ["own"]


def test_the_cost_of_a_tuned_arm_says_among_which_rates():
    here = lab(1)
    here.bench.rates = lambda run: (0.1, 0.2, 0.4)
    here.arms(Run(), {"tuned": {}}, tuned_by=value)
    here.arms(Run(), given={}, own=lambda seed: Trained(7.0, None, seed, 10, 0.5, 0.1, rates=(0.1,)))
    costs = here.verdict(Effect((1.0,)), {}, unit="", table=[]).arms
    assert {cost.name: cost.rates for cost in costs} == {
        "tuned": (0.1, 0.2, 0.4),
        "given": (),
        "own": (0.1,),
    }


def test_cost_of_an_arm_sums_its_trainings():
    trained = [Trained(None, None, 0, 100, 1.5, 1e-3), Trained(None, None, 1, 50, 0.25, 1e-3, trainings=3)]
    assert cost_of("ours", trained) == ArmCost(
        name="ours", trainings=4, examples=150, seconds=1.75, learning_rate=1e-3
    )


def test_the_claims_of_a_module_stand_in_its_order():
    module = ModuleType("study")
    for id in ("C2", "C1"):
        module.__dict__[f"check_{id}"] = claim(id, "says", paper="p", criterion="c")(lambda lab: None)
    assert [one.id for one in claims_in(module)] == ["C2", "C1"]


@pytest.mark.parametrize(
    "absent",
    [DataError("CIFAR-10 is not here"), MissingExtraError("rdkit", "chemistry", "drawing molecules")],
)
def test_a_claim_at_another_scale_or_without_what_it_needs_is_not_run(absent):
    def check(lab):
        if lab.scale == "small":
            raise absent
        return ClaimResult(verdict="supported")

    one = claim("C1", "says", paper="p", criterion="c")(check)
    assert one.run("smoke", [0], Bench()).verdict == "supported"
    assert one.run("gpu", [0], Bench()).verdict == "not run"
    assert one.run("small", [0], Bench()) == ClaimResult(verdict="not run", note=str(absent))
