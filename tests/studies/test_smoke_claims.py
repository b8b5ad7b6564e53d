"""The claims of every system run from end to end, with trainings cut to two steps; and how a criterion decides."""

from dataclasses import replace

import pytest

from brickwork.core import registry
from brickwork.core.errors import DataError
from brickwork.studies.bench import ArmCost, Workbench
from brickwork.studies.criterion import decide

CASES = [
    (slug, claim.id)
    for slug in registry.slugs()
    for claim in registry.load(slug, "claims").CLAIMS
    if "smoke" in claim.scales
]


class QuickBench(Workbench):
    """Every training has two steps: the numbers mean nothing, the way to them is walked."""

    def train(self, run):
        return super().train(replace(run, train=replace(run.train, steps=2)))

    def fit(self, system, data, config, seed):
        return super().fit(system, data, replace(config, steps=2), seed)

    def train_many(self, runs):
        return super().train_many([replace(run, train=replace(run.train, steps=2)) for run in runs])


@pytest.fixture(scope="module")
def bench():
    return QuickBench()


@pytest.mark.parametrize(("slug", "claim_id"), CASES)
def test_claim_runs(slug, claim_id, bench):
    bench.systems = {slug}
    (claim,) = (c for c in registry.load(slug, "claims").CLAIMS if c.id == claim_id)
    try:
        result = claim.run("smoke", [0], bench)
    except DataError as error:
        if "is not on this machine" not in str(error):
            raise
        pytest.skip(str(error))
    assert result.verdict in ("supported", "refuted", "not at this scale")
    assert len(result.effects) == 1
    assert result.unit
    assert result.table
    examples = {arm.examples for arm in result.arms}
    assert len(examples) == 1, f"the arms saw different amounts of data: {result.arms}"


def test_a_criterion_that_is_not_met_is_refuted():
    assert decide([1.0, 2.0, 3.0], True, unit="points").verdict == "supported"
    assert decide([1.0, 2.0, 3.0], False, unit="points").verdict == "refuted"


def test_a_criterion_that_needs_scale_says_so():
    result = decide([1.0], False, unit="points", needs="100 classes", arms=[ArmCost(name="a")])
    assert result.verdict == "not at this scale"
    assert "100 classes" in result.note
    assert result.interval is None


def test_interval_is_students():
    """1, 2, 3: mean 2, standard error 1/√3, t(2) = 4.3027 (a table of the distribution)."""
    result = decide([1.0, 2.0, 3.0], True, unit="points")
    assert result.interval == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)
