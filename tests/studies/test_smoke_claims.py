"""Claims of every system run from end to end at scale smoke: one a system here, all of them in ``make claims-smoke``.

Trainings are cut to three steps: the numbers mean nothing, the way to them is walked.
"""

import pytest

from brickwork.core import registry
from brickwork.core.errors import DataError
from brickwork.studies.bench import Bench
from brickwork.studies.records import claims_of, load_records
from brickwork.studies.study import Claim


@pytest.fixture(scope="module")
def bench():
    return Bench(max_steps=3)  # a step for each of the three stages that the longest trainings have


@pytest.fixture(autouse=True)
def few_rates(monkeypatch):
    """Two rates are a search; a third shows nothing more of the way."""
    monkeypatch.setattr("brickwork.studies.bench.FACTORS", (1.0, 0.5))


def smoke_claims(slug: str) -> list[Claim]:
    """The claims of a system at scale smoke: first what its records say took the fewest trainings, and of several such the
    last, as papers begin with their largest comparison."""
    records = load_records(slug).get("smoke", {})

    def trainings(claim: Claim) -> float:
        arms = records.get(claim.id, {}).get("arms", ())
        return sum(arm["trainings"] for arm in arms) or float("inf")

    return sorted((claim for claim in reversed(claims_of(slug)) if "smoke" in claim.scales), key=trainings)


def walk(slug: str, claim: Claim, bench: Bench) -> None:
    """Runs a claim with one seed and looks at what every result holds; skips where its data is not on this machine."""
    bench.systems = {slug}
    try:
        result = claim.run("smoke", [0], bench)
    except DataError as error:
        if "is not on this machine" not in str(error):
            raise
        pytest.skip(str(error))
    if result.verdict == "not run" and "is not on this machine" in result.note:
        pytest.skip(result.note)
    assert result.verdict in ("supported", "undecided", "refuted", "not at this scale")
    assert len(result.effects) == 1
    assert result.unit
    assert result.table
    examples = {arm.examples for arm in result.arms}
    assert len(examples) == 1, f"the arms saw different amounts of data: {result.arms}"


@pytest.mark.parametrize("slug", registry.slugs())
def test_one_claim_runs(slug, bench):
    """The cheapest whose data is here."""
    reasons = []
    for claim in smoke_claims(slug):
        try:
            return walk(slug, claim, bench)
        except pytest.skip.Exception as absent:
            reasons.append(f"{claim.id}: {absent}")
    pytest.skip("; ".join(reasons) or f"{slug} has no claim at scale smoke")


@pytest.mark.claims
@pytest.mark.parametrize("slug", registry.slugs())
def test_every_claim_runs(slug, bench, subtests):
    for claim in smoke_claims(slug):
        with subtests.test(claim.id):
            walk(slug, claim, bench)
