"""The claims of every study run from end to end, with trainings cut to two steps."""

import pytest

from brickwork.core import registry
from brickwork.studies.bench import Bench
from brickwork.studies.records import claims_of
from brickwork.studies.study import Claim

CASES = [
    (slug, claim.id)
    for slug in registry.slugs()
    for claim in claims_of(slug)
    if "smoke" in claim.scales and isinstance(claim, Claim)
]


@pytest.fixture(scope="module")
def bench():
    return Bench(max_steps=2)


@pytest.mark.parametrize(("slug", "claim_id"), CASES)
def test_claim_runs(slug, claim_id, bench):
    bench.systems = {slug}
    (claim,) = (c for c in claims_of(slug) if c.id == claim_id)
    result = claim.run("smoke", [0], bench)
    if result.verdict == "not run" and "is not on this machine" in result.note:
        pytest.skip(result.note)
    assert result.verdict in ("supported", "undecided", "refuted", "not at this scale")
    assert len(result.effects) == 1
    assert result.unit
    assert result.table
    examples = {arm.examples for arm in result.arms}
    assert len(examples) == 1, f"the arms saw different amounts of data: {result.arms}"
