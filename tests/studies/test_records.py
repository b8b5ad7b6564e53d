"""Records of claims: written at once, resumed, stale when the code has outgrown them; and their tables."""

import json
import math
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from brickwork.core.errors import ArtifactError, ConfigError, DataError, NonFiniteError, ResourceError
from brickwork.core.files import FolderLock
from brickwork.studies import records as claim_records
from brickwork.studies import table as claim_table
from brickwork.studies.effects import Effect
from brickwork.studies.fingerprint import code_of, reached
from brickwork.studies.records import load_verdicts, machine, read_records, run_claims, stale
from brickwork.studies.study import ArmCost, Claim, ClaimResult, Judged
from brickwork.studies.table import BEGIN, END, out_of_date, with_block


@pytest.fixture
def system(monkeypatch):
    """A system with two claims, one of which can be broken; ``calls`` counts their runs."""
    state = SimpleNamespace(calls=[], error=None, code="1111", verdict="supported")

    def first(lab):
        state.calls.append(("C1", lab.scale, lab.seeds))
        lab.bench.systems.add("other-system")
        return ClaimResult(
            verdict=state.verdict,
            effect=6.0,
            interval=(5.5, 6.5),
            conditions=(Judged(name="gain", asked="> 0", outcome="met", effect=6.0, interval=(5.5, 6.5)),),
            unit="points",
            effects=(6.0, 5.8, 6.2),
            arms=(ArmCost(name="ours", trainings=3, examples=1200, seconds=4.0),),
            table=({"dim": 8, "ours": 0.9},),
            note="a | b",
        )

    def second(lab):
        state.calls.append(("C2", lab.scale, lab.seeds))
        if state.error:
            raise state.error
        return ClaimResult(verdict="refuted", effect=-1.0)

    def claim(name, check, **more):
        return Claim(
            id=name, statement=f"statement {name}", paper="76.3 %", criterion="≥ 5", check=check, **more
        )

    claims = (claim("C1", first), claim("C2", second), claim("C3", first, scales=("gpu",)))
    monkeypatch.setattr(claim_records, "claims_of", lambda slug: claims)
    monkeypatch.setattr(
        claim_records,
        "study_fingerprint",
        lambda slug, systems, claim: "+".join([slug, *sorted(systems)]) + state.code,
    )
    return state


def test_each_record_has_all_that_a_reader_needs(system, tmp_path):
    first, second, third = run_claims("my-system", "smoke", folder=tmp_path)
    stored = json.loads((tmp_path / "my-system-smoke.json").read_text())["records"]
    assert [r["id"] for r in stored] == ["C1", "C2", "C3"]
    assert stored[0] == json.loads(json.dumps(first))
    assert (first["verdict"], first["effects"], first["seeds"]) == ("supported", [6.0, 5.8, 6.2], [0, 1, 2])
    assert first["arms"][0]["examples"] == 1200
    assert first["systems"] == ["my-system", "other-system"]
    assert second["systems"] == ["my-system"]
    assert set(first["machine"]) >= {"cpu", "threads"}
    assert first["versions"]["torch"]
    assert (third["verdict"], third["note"]) == ("not run", "not defined at scale smoke")


def test_numbers_that_json_does_not_have_are_recorded_as_none(documented, tmp_path, monkeypatch):
    def diverged(lab):
        effect = Effect((math.nan, 1.0, 2.0))
        return lab.verdict(
            effect, {"gain": effect > 0}, unit="points", table=[{"ours": math.inf, "theirs": (math.nan, 1)}]
        )

    one = replace(claim_records.claims_of("my-system")[0], check=diverged)
    monkeypatch.setattr(claim_records, "claims_of", lambda slug: (one,))
    (record,) = run_claims("my-system", "smoke", folder=tmp_path)
    stored = read_records(tmp_path / "my-system-smoke.json")["C1"]
    assert stored == record
    assert (record["effect"], record["interval"], record["effects"]) == (None, None, [None, 1.0, 2.0])
    assert record["table"] == [{"ours": None, "theirs": [None, 1]}]
    assert "–; –, +1, +2 |" in claim_table.claims_page("my-system", tmp_path)


def test_finished_claims_are_kept_and_an_interrupted_run_goes_on(system, tmp_path):
    system.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run_claims("my-system", "smoke", folder=tmp_path)
    assert [r["id"] for r in json.loads((tmp_path / "my-system-smoke.json").read_text())["records"]] == ["C1"]
    system.error = None
    run_claims("my-system", "smoke", folder=tmp_path)
    assert [c[0] for c in system.calls] == ["C1", "C2", "C2"]


@pytest.mark.parametrize("why", ["force", "seeds", "code"])
def test_what_makes_a_claim_run_again(system, tmp_path, why):
    run_claims("my-system", "smoke", folder=tmp_path, only=["C1"])
    run_claims("my-system", "smoke", folder=tmp_path, only=["C1"])
    assert len(system.calls) == 1
    if why == "code":
        system.code = "2222"
    run_claims(
        "my-system",
        "smoke",
        folder=tmp_path,
        only=["C1"],
        force=why == "force",
        seeds=5 if why == "seeds" else 3,
    )
    assert len(system.calls) == 2


def test_absent_data_is_not_run_and_does_not_push_out_a_result(system, tmp_path):
    run_claims("my-system", "smoke", folder=tmp_path)
    system.error = DataError("CIFAR-10 is not here")
    records = run_claims("my-system", "smoke", folder=tmp_path, force=True)
    assert (records[1]["verdict"], records[1]["note"]) == ("not run", "CIFAR-10 is not here")
    assert load_verdicts("my-system", tmp_path)["C2"]["smoke"]["verdict"] == "refuted"


def test_fewer_seeds_do_not_push_out_a_result_of_todays_code(system, tmp_path):
    run_claims("my-system", "smoke", folder=tmp_path, only=["C1"])
    said = []
    (one,) = run_claims("my-system", "smoke", folder=tmp_path, only=["C1"], seeds=1, progress=said.append)
    path = tmp_path / "my-system-smoke.json"
    assert one["seeds"] == [0]
    assert read_records(path)["C1"]["seeds"] == [0, 1, 2]
    assert "not recorded" in said[-1]
    system.code = "2222"
    run_claims("my-system", "smoke", folder=tmp_path, only=["C1"], seeds=1)
    assert read_records(path)["C1"]["seeds"] == [0], "what is stale gives way"


def test_a_claim_that_could_not_run_is_tried_again(system, tmp_path):
    system.error = DataError("CIFAR-10 is not here")
    run_claims("my-system", "smoke", folder=tmp_path)
    system.error, system.calls = None, []
    messages: list[str] = []
    records = run_claims("my-system", "smoke", folder=tmp_path, progress=messages.append)
    assert [r["verdict"] for r in records] == ["supported", "refuted", "not run"]
    assert [c[0] for c in system.calls] == ["C2"]
    assert (
        messages[-1] == "my-system C3 (3/3): recorded, not run"
    )  # not defined at this scale, and so it stays


@pytest.mark.parametrize("error", [ZeroDivisionError, NonFiniteError, ResourceError, ConfigError])
def test_a_defect_in_a_claim_is_not_hidden(system, tmp_path, error):
    system.error = error("as it is")
    with pytest.raises(error, match="as it is"):
        run_claims("my-system", "smoke", folder=tmp_path)
    assert list(read_records(tmp_path / "my-system-smoke.json")) == ["C1"]


def test_claims_that_run_at_once_are_all_recorded(system, tmp_path, monkeypatch):
    first, second, _ = claim_records.claims_of("my-system")

    def meanwhile(lab):
        run_claims("my-system", "smoke", folder=tmp_path, only=["C2"])  # as another process would
        return first.check(lab)

    monkeypatch.setattr(claim_records, "claims_of", lambda slug: (replace(first, check=meanwhile), second))
    run_claims("my-system", "smoke", folder=tmp_path, only=["C1"])
    assert list(read_records(tmp_path / "my-system-smoke.json")) == ["C1", "C2"]


def test_who_writes_a_record_waits_for_another_but_not_for_ever(system, tmp_path, monkeypatch):
    lock = FolderLock(tmp_path, "a test").__enter__()
    waiting = threading.Timer(0.3, lock.__exit__)
    waiting.start()
    run_claims("my-system", "smoke", folder=tmp_path, only=["C1"])
    waiting.join()
    assert list(read_records(tmp_path / "my-system-smoke.json")) == ["C1"]
    assert not lock.path.exists()
    monkeypatch.setattr(claim_records, "_PATIENCE", 0.1)
    with FolderLock(tmp_path, "a test"), pytest.raises(ResourceError, match=r"is in use.*a test"):
        run_claims("my-system", "smoke", folder=tmp_path, only=["C2"])


def test_verdicts_say_when_they_are_stale(system, tmp_path):
    run_claims("my-system", "small", folder=tmp_path)
    results = load_verdicts("my-system", tmp_path)["C1"]["small"]
    assert set(results) == {"verdict", "effect", "interval", "seeds", "date", "stale"}
    assert (results["effect"], results["interval"], results["stale"]) == (6.0, [5.5, 6.5], False)
    system.code = "2222"
    assert load_verdicts("my-system", tmp_path)["C1"]["small"]["stale"] is True
    assert load_verdicts("unknown", tmp_path) == {}


def test_staleness_follows_the_real_code():
    # The real fingerprint of the real source: a record made now is fresh, one of other code is not.
    now = {
        "id": "C1",
        "fingerprint": claim_records.study_fingerprint("dylora", ["dylora"], "C1"),
        "systems": ["dylora"],
    }
    assert not stale("dylora", now)
    assert stale("dylora", now | {"id": "C2"})
    assert stale("dylora", now | {"id": "gone"})
    assert stale("dylora", now | {"systems": ["dylora", "matryoshka"]})
    assert stale("dylora", now | {"fingerprint": "0" * 16})


CLAIMS = """
from brickwork.studies.mine import setups
from brickwork.studies.mine.setups import run as longest, LENGTH

UNIT = "points"

@claim("C1", "statement", paper="", criterion="")
def first(lab):
    return helper(longest(lab))

@claim("C2", "statement", paper="", criterion="")
def second(lab):
    LENGTH = helper(setups.short(lab))
    return LENGTH, UNIT

def helper(at):
    return at

if True:
    pass
"""
SETUPS = """
LENGTH: int = 3

def run(lab):
    return LENGTH

def short(lab):
    return 2
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "reaches"),
    [
        (CLAIMS, '"points"', '"nats"', {"C2"}),
        (CLAIMS, "return helper(longest(lab))", "return 0", {"C1"}),
        (CLAIMS, '"C2", "statement"', '"C2", "another"', {"C2"}),
        (CLAIMS, "return at", "return 2 * at", {"C1", "C2"}),
        (CLAIMS, "import run as", "import faster as", {"C1"}),
        (CLAIMS, ", LENGTH", ", LENGTH, other", set()),
        (CLAIMS, "studies.mine.setups", "studies.theirs.arms", set()),  # it moved, and is what it was
        (CLAIMS, "from brickwork.studies.mine.setups", "from numpy", {"C1"}),
        (CLAIMS, "    pass", "    print()", {"C1", "C2"}),
        (CLAIMS, "second(lab):", 'second(lab):\n    """What it does."""', set()),
        (SETUPS, "LENGTH: int = 3", "LENGTH: int = 4", {"C1"}),
        (SETUPS, "return 2", "return 1", {"C2"}),
        (SETUPS, "\ndef run", "\nfrom brickwork.studies.mine import setups\n\ndef run", set()),
        (SETUPS, "return 2", "return 2\n\ndef nobody(lab):\n    return 1", set()),
    ],
)
def test_a_claim_reaches_what_it_names_and_what_that_names(file, old, new, reaches):
    # By hand: which of two claims another source of one of two modules can change.
    after = [source.replace(old, new) if source is file else source for source in (CLAIMS, SETUPS)]
    assert after != [CLAIMS, SETUPS]
    assert {c for c in ("C1", "C2") if reached(c, [CLAIMS, SETUPS]) != reached(c, after)} == reaches


CODE = '''
def f(x):
    text = """
    # a heading
    {}
    """
    return (f"{x:{text}}", "a")
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return", "return  "),
        ("(x):", "(x):  # why"),
        ("(x):", '(x):\n    """What it does."""\n    # and why\n\n'),
        ('", "a"', '",\n        "a",\n    # the end\n'),
        ('"a"', "'a'"),
    ],
)
def test_comments_docstrings_and_layout_are_no_code(old, new):
    assert code_of(CODE.replace(old, new)) == code_of(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a heading", "# another heading"),
        ("{}\n", "{}\n\n"),
        ("{}\n", "{} \n"),
        ('"a"', '"a # b"'),
        ("    text", '    "what it does"; x = 2\n    text'),
        ("return", "raise ValueError\n    return"),
    ],
)
def test_all_that_is_run_is_code(old, new):
    assert code_of(CODE.replace(old, new)) != code_of(CODE)


def test_code_is_written_alike_by_every_version_of_python():
    # This is what 3.11, 3.12.1 and 3.13 say, which differ in empty fields and at the end of an f-string.
    format_spec = "(JoinedStr values=[(FormattedValue value=(Name id='w' ctx=(Load )) conversion=-1)])"
    text = f"(FormattedValue value=(Name id='x' ctx=(Load )) conversion=-1 format_spec={format_spec})"
    joined = f"(JoinedStr values=[{text} (Constant value='\\xe4')])"
    assert code_of("f'{x:{w}}ä'; None") == f"(Module body=[(Expr value={joined}) (Expr value=(Constant ))])"


def test_a_record_whose_systems_are_gone_is_stale():
    record = {"id": "C1", "fingerprint": "0" * 16}
    assert stale("dylora", record | {"systems": ["dylora", "gone"]})
    assert stale("gone", record | {"systems": ["dylora"]})


def test_systems_without_claims_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match="unknown system 'matroshka': did you mean 'matryoshka'"):
        run_claims("matroshka", "smoke")
    with pytest.raises(ConfigError, match="unknown system 'bench'"):  # a module beside the studies
        claim_records.claims_of("bench")
    monkeypatch.setattr(claim_records.registry, "card", lambda slug: None)
    with pytest.raises(ConfigError, match=r"my-system has no study: .*brickwork/studies/my_system\.py"):
        claim_records.claims_of("my-system")


def test_unknown_names_are_refused_with_the_nearest(system, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'smoke'"):
        run_claims("my-system", "smok", folder=tmp_path)
    with pytest.raises(ConfigError, match="no claim 'C9'"):
        run_claims("my-system", "smoke", folder=tmp_path, only=["C9"])


def test_machine_has_no_host_name_and_no_path():
    import socket

    text = json.dumps(machine())
    assert socket.gethostname() not in text
    assert "/" not in text


@pytest.fixture
def documented(system, monkeypatch):
    """The system with a card, so that pages can be made of it."""
    card = SimpleNamespace(title="My paper")
    monkeypatch.setattr(claim_table.registry, "card", lambda slug: card)
    monkeypatch.setattr(claim_table.registry, "slugs", lambda: ["my-system"])
    monkeypatch.setattr(claim_table, "claims_of", lambda slug: claim_records.claims_of(slug))
    monkeypatch.setattr(claim_table, "has_study", lambda slug: True)
    return system


def test_page_has_every_number_and_escapes_bars(documented, tmp_path):
    run_claims("my-system", "smoke", folder=tmp_path)
    page = claim_table.claims_page("my-system", tmp_path)
    row = next(line for line in page.splitlines() if line.startswith("| C1"))
    numbers = "+6 points [+5.5, +6.5]; +6, +5.8, +6.2"
    for part in ("statement C1", "76.3 %", numbers, "≥ 5", "**supported** |"):
        assert part in row
    assert "- C1: gain > 0: met (+6 [+5.5, +6.5])" in page
    assert "- C1: ours: 3 trainings, 1,200 examples, 4 s" in page
    assert f", {machine()['threads']} thread" in page
    assert all(line.count("|") - line.count("\\|") == 7 for line in page.splitlines() if line.startswith("|"))
    documented.code = "2222"
    assert "**supported*** |" in claim_table.claims_page("my-system", tmp_path)


def test_index_and_summary_count_the_verdicts(documented, tmp_path):
    assert "| [my-system](my-system.md) | 3 | – | – |" in claim_table.index_page(tmp_path)
    run_claims("my-system", "smoke", folder=tmp_path)
    counts = "1 supported, 1 refuted, 1 not run"
    assert f"| [my-system](my-system.md) | 3 | {counts} | – |" in claim_table.index_page(tmp_path)
    assert claim_table.summary("my-system", tmp_path).startswith(f"3 claims: at `smoke` {counts}. ")


def test_effects_and_conditions_are_shown_with_their_intervals():
    record = {"effect": -1.25, "unit": "points", "interval": [-2.0, -0.5]}
    assert claim_table.effect_text(record) == "-1.25 points [-2, -0.5]"
    assert claim_table.effect_text(record | {"interval": None}) == "-1.25 points"
    assert claim_table.effect_text({"effect": None}) == "–"
    condition = {
        "name": "loss",
        "asked": "≥ -1",
        "outcome": "open",
        "effect": -1.25,
        "interval": [-2.0, -0.5],
    }
    assert claim_table.condition_text(condition) == "loss ≥ -1: open (-1.25 [-2, -0.5])"
    exact = {
        "name": "all",
        "asked": "(no interval: counted)",
        "outcome": "met",
        "effect": None,
        "interval": None,
    }
    assert claim_table.condition_text(exact) == "all (no interval: counted): met"


def test_what_is_generated_replaces_what_stood_between_the_markers(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\nafter\n")
    text = with_block(page, "new\n")
    assert text == f"# Title\n\n{BEGIN}\nnew\n{END}\nafter\n"
    assert out_of_date(iter([(page, text), (tmp_path / "absent.md", "x")])) == {
        page: text,
        tmp_path / "absent.md": "x",
    }
    page.write_text(text)
    assert out_of_date(iter([(page, text)])) == {}
    page.write_text("no markers")
    with pytest.raises(ArtifactError, match="claims: begin"):
        with_block(page, "new")


def test_results_of_another_format_are_refused(tmp_path):
    (tmp_path / "my-system-smoke.json").write_text('{"format": 99, "records": []}')
    with pytest.raises(ConfigError, match="format 99"):
        load_verdicts("my-system", tmp_path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda stored: [], "holds no records of claims"),
        (lambda stored: {}, "holds no records of claims"),
        (lambda stored: {"format": 2}, "'records' is not a list"),
        (lambda stored: {"format": 2, "records": 5}, "'records' is not a list"),
        (lambda stored: {"format": 2, "records": [5]}, "'records' is not a list"),
        (lambda stored: {"format": 2, "records": [{}]}, r"record 0 \(without id\) has no good 'id'"),
        (lambda stored: changed_record(stored, seeds=3), r"record 0 \(C1\) has no good 'seeds'"),
        (lambda stored: changed_record(stored, verdict=None), "has no good 'verdict'"),
        (lambda stored: changed_record(stored, effect="6"), "has no good 'effect'"),
        (lambda stored: changed_record(stored, interval=1.0), "has no good 'interval'"),
    ],
)
def test_damaged_results_are_refused(system, tmp_path, damage, reason):
    run_claims("my-system", "smoke", folder=tmp_path)
    path = tmp_path / "my-system-smoke.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    for use in (load_verdicts, lambda slug, folder: run_claims(slug, "smoke", folder=folder)):
        with pytest.raises(
            ArtifactError, match=f"my-system-smoke.json is damaged: .*{reason}.*run the claims again"
        ):
            use("my-system", tmp_path)


def changed_record(stored, **values):
    first, *others = stored["records"]
    return {**stored, "records": [first | values, *others]}
