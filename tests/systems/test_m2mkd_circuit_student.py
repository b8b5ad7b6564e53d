"""Circuits as the student of m2mkd: trainings, slots of other runs, one slot anew, what is kept, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import brickwork
from brickwork.api import train as api
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.data.config import ImageDataConfig
from brickwork.data.load import load_task
from brickwork.modules.slots import compose
from brickwork.representation.contract import build_system
from brickwork.systems.m2mkd import circuits as network
from brickwork.systems.m2mkd.assembly import from_parts
from brickwork.systems.m2mkd.circuit_layers import Noise
from brickwork.systems.m2mkd.circuits import drawing
from brickwork.systems.m2mkd.config import Circuits, Config
from brickwork.systems.m2mkd.recipes import smoke
from brickwork.systems.m2mkd.system import System

DATA = ImageDataConfig(source="digits", limit=300)
STUDENT = Circuits(width=8, num_heads=2, inputs=3, mediators=4, outputs=2, signature_dim=4, place_dim=4)
TINY = Config(student=STUDENT, slots=3, patch=4, teacher_width=16, teacher_depth=3)
FREE = {"learn": "end_to_end", "teacher_width": None, "teacher_depth": None}


@pytest.fixture(autouse=True, scope="module")
def short_fits():
    """The graph of four mediators is drawn roughly; test_m2mkd_circuit_graph.py has whole fits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brickwork.systems.m2mkd.circuit_graph._STEPS", 20)
        yield


@pytest.fixture(scope="module")
def data():
    return load_task(DATA, 0)


def run(steps=18, seed=0, start="", **model):
    train = replace(smoke().train, steps=steps, batch_size=16, validate_every=0, log_every=100)
    return replace(smoke(), model=replace(TINY, **model), data=DATA, train=train, start=start, seed=seed)


def built(data, seed=0, **model):
    return build_system("m2mkd", replace(TINY, **model), data, seed)


def trained(folder, **options):
    return api.train(run(**options), folder, measure=False).system


def batch_of(system, data, stage, step=3, rows=range(8)):
    batch = system.collate(data.train.take(rows))
    return {**batch, "step": step, "indices": list(rows), "stage": stage}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "run"
    trained(folder, prepare=True, steps=8)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    trained(folder, keep_stitches=True)
    return folder


# ---- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["slot 2", "whole", "control"])
def test_the_regulariser_is_of_assembled_circuits(data, stage):
    """−Σ 1 − cos(s_u, s_v) over the pairs below 0.4, pair by pair with NumPy, times its weight."""
    system = built(data, control=True).eval()
    student = system.control if stage == "control" else system.student
    with torch.no_grad():
        student.encoder.circuit.signatures[1] = student.encoder.circuit.signatures[0] * 2 + 0.1
    output = system.loss(batch_of(system, data, stage))
    if stage not in ("whole", "control"):
        assert "repulsion" not in output.terms
        return
    s = student.encoder.circuit.signatures.detach().numpy()
    s = s / np.linalg.norm(s, axis=1, keepdims=True)
    d = [1 - s[u] @ s[v] for u in range(len(s)) for v in range(u)]
    expected = -sum(one for one in d if one < 0.4)
    assert expected < 0
    assert output.terms["repulsion"].item() == pytest.approx(expected, rel=1e-4)
    assert output.weights["repulsion"] == 0.1


@pytest.mark.parametrize("stage", ["slot 1", "slot 2", "whole"])
def test_what_learns(data, stage):
    """In a slot its matrices and stitch alone; assembled all: graph, codes, states to begin with."""
    system = built(data).train()
    system.start_stage(stage)
    system.loss(batch_of(system, data, stage)).total.backward()
    reached = {name for name, p in system.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    if stage == "whole":
        assert reached == {f"student.{name}" for name, _ in system.student.named_parameters()}
        return
    place = int(stage[-1]) - 1
    own = {
        id(p) for part in (system.student.slots()[place], system.stitches[place]) for p in part.parameters()
    }
    assert {id(p) for name, p in system.named_parameters() if name in reached} <= own
    assert {name.partition(".")[0] for name in reached} == {"student", "stitches"}
    assert not any(name.endswith(("codes", "signatures", "bandwidths")) for name in reached)


def test_what_is_drawn_is_of_seed_step_and_row(data):
    """The loss in training is that of the circuit under :func:`drawing` from these numbers; each step draws anew."""
    system = built(data, **FREE, mixing=replace(TINY.mixing, smoothing=0.0)).train()
    batch = batch_of(system, data, "whole")
    system.start_stage("whole")
    loss = system.loss(batch).terms["cross_entropy"]
    with drawing(system, Noise(0, 3, range(8))):
        by_hand = torch.nn.functional.cross_entropy(system.student.logits(batch["input"]), batch["label"])
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-6)
    other = system.loss({**batch, "step": 4}).terms["cross_entropy"]
    plain = torch.nn.functional.cross_entropy(system.student.logits(batch["input"]), batch["label"])
    assert abs(other.item() - loss.item()) > 1e-5
    assert abs(plain.item() - loss.item()) > 1e-5


def test_a_step_in_bf16_is_near_one_in_float32(data):
    """What is drawn, and the links that are drawn from it, are not rounded: two latents in one place are joined, and have a
    gradient. The loss of about 3 moves by rounding alone."""
    system = built(data, **FREE).train()
    batch = batch_of(system, data, "whole")
    with torch.no_grad():
        signatures = system.student.encoder.circuit.signatures
        signatures[0] = signatures[3]
    fine = system.loss(batch).total
    with torch.autocast("cpu", torch.bfloat16):
        coarse = system.loss(batch).total
    coarse.backward()
    assert 0 < abs(fine.item() - coarse.item()) < 0.1
    assert all(p.grad.isfinite().all() for p in system.student.parameters())
    drawn = Noise(0, 1, range(4)).uniform("a", torch.zeros(1, dtype=torch.bfloat16), 3)
    assert drawn.dtype == torch.float32


# ---- trainings -------------------------------------------------------------------------------------------------------


def test_a_run_is_kept_whole_and_loaded_without_a_fit(whole, data, tmp_path, monkeypatch):
    """The graph is in the weights; what is loaded answers as what was trained, and a representation that is saved is the
    system."""
    monkeypatch.setattr(
        network, "fitted_signatures", lambda *args: pytest.fail("a loaded circuit was fitted")
    )
    system = brickwork.load(whole)
    images = data.test.columns["input"][:6]
    vectors = system.encode(images)
    assert vectors.shape == (6, 8)
    with torch.no_grad():
        z = system.student.encoder.circuit.vector(system.collate({"input": images})["input"]).numpy()
    np.testing.assert_allclose(
        system.encode(images, precision="fp32"), z / np.linalg.norm(z, axis=1, keepdims=True), atol=1e-6
    )
    system.representation().save(tmp_path / "kept")
    again = brickwork.load(tmp_path / "kept")
    np.testing.assert_array_equal(again.encode(images), vectors)
    answer, same = system.predict({"input": images}), again.predict({"input": images})
    assert answer["label"] == same["label"]
    assert set(answer["label"]) <= set(system.classes)
    assert system.encoder.flops(2) == 2 * system.encoder.flops() > 0
    assert set(system.networks()) >= {"meta", "teacher", "student", *(f"student_slot_{k}" for k in (1, 2, 3))}
    assert set(system.ledger.spent()) == {"meta", "teacher", "slot 1", "slot 2", "slot 3", "whole"}


def test_a_run_that_was_cut_goes_on_with_the_same_bits(whole, tmp_path, monkeypatch):
    """Cut while the assembled circuit learns, which draws."""
    made = run(keep_stitches=True)
    made = replace(made, train=replace(made.train, save_every=4))
    collate, calls = System.collate, []

    def failing(system, columns):
        calls.append(1)
        if len(calls) > 16:
            raise InterruptedError
        return collate(system, columns)

    with monkeypatch.context() as patch:
        patch.setattr(System, "collate", failing)
        with pytest.raises(InterruptedError):
            api.train(made, tmp_path / "run", measure=False)
    resumed = api.train(made, tmp_path / "run", measure=False, resume=True).system.state_dict()
    expected = brickwork.load(whole).state_dict()
    assert [name for name in expected if not torch.equal(expected[name], resumed[name])] == []


def test_stitches_that_are_kept_stand_between_the_slots(data):
    """They begin as ψ of a slot and φ of the next, and are linear, as the authors'."""
    system = built(data, keep_stitches=True)
    system.start_stage("whole")
    for place, joint in enumerate(system.student.encoder.circuit.joints):
        assert torch.equal(joint.maps[0][0].weight, system.stitches[place].out[0].weight)
        assert torch.equal(joint.maps[1][0].weight, system.stitches[place + 1].into[0].weight)
    assert [type(part).__name__ for part in system.stitches[1].into] == ["Linear"]


def test_slots_of_runs_with_other_seeds_do_in_the_assembled_run_what_they_did_there(prepared, tmp_path, data):
    """Code and state of a slot are drawn; they go where the slot goes."""
    folders = [tmp_path / f"slot-{number}" for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        trained(folder, start=str(prepared), slot=number, steps=2, seed=number)
    finished = brickwork.load(prepared)
    facts = {name: finished._facts[name] for name in ("classes", "image_shape")}
    system = System.continued(finished, replace(TINY, parts=tuple(map(str, folders))), seed=0, **facts)
    assert system.ledger.began("slot 3")
    x = system.collate({"input": data.test.columns["input"][:4]})["input"]
    for number, folder in enumerate(folders, 1):
        name = f"student_slot_{number}"
        with torch.no_grad():
            torch.testing.assert_close(
                system.eval().networks()[name](x), brickwork.load(folder).networks()[name](x)
            )
    with pytest.raises(ArtifactError, match="both hold slot 1"):
        from_parts(system, (str(folders[0]), str(folders[0])))


def test_one_slot_anew_leaves_the_others_to_the_bit(whole, tmp_path):
    before = brickwork.load(whole)
    after = trained(tmp_path / "new", start=str(whole), renew=2, steps=6, seed=5, keep_stitches=True)
    own = {id(p) for part in (after.student.slots()[1], after.stitches[1]) for p in part.parameters()}
    was = dict(before.named_parameters()) | dict(before.student.named_buffers(prefix="student"))
    now = dict(after.named_parameters()) | dict(after.student.named_buffers(prefix="student"))
    changed = {name for name in now if not torch.equal(was[name], now[name])}
    assert changed
    assert {id(now[name]) for name in changed} <= own


def test_a_circuit_of_a_run_is_no_teacher(whole, data):
    given = {"patch": None, "teacher_width": None, "teacher_depth": None, "teacher": str(whole)}
    with pytest.raises(ConfigError, match="holds no plain vision transformer"):
        build_system("m2mkd", replace(TINY, **given), data, 0)


def test_slots_composed_are_no_circuit(data):
    """In the meta network there is no graph: the same matrices, another network."""
    system = built(data).eval()
    x = batch_of(system, data, "")["input"]
    with torch.no_grad():
        assert not torch.allclose(compose(system.student.slots(), x), system.student.logits(x), atol=1e-3)


OTHERS = {
    "width": 16,
    "num_heads": 1,
    "inputs": 2,
    "mediators": 5,
    "outputs": 1,
    "prior": "ring_of_cliques",
    "signature_dim": 3,
    "stem_blocks": 2,
    "place_dim": 2,
    "drop": 0.5,
    "repulsion": 5.0,
}


def test_every_option_changes_something(data):
    """Weights, or the loss of a step; the battery walks the options of the other student."""

    def trace(**options):
        system = built(data, **FREE, student=replace(STUDENT, **options)).train()
        with torch.no_grad():
            return sum(p.numel() for p in system.parameters()), system.loss(
                batch_of(system, data, "whole")
            ).total.item()

    assert set(OTHERS) == set(vars(STUDENT)) - {"kind"}
    plain = trace()
    assert trace() == plain
    assert [name for name, value in OTHERS.items() if trace(**{name: value}) == plain] == []


def test_what_a_circuit_is_compared_with(data):
    """From end to end, without a teacher, distilled whole: each is a system that can be built and learns."""
    for name, config in System.controls(TINY).items():
        assert isinstance(config.student, Circuits), name
        assert not config.validate(), name
        system = build_system("m2mkd", config, data, 0)
        assert torch.isfinite(system.loss(batch_of(system, data, "whole")).total)


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"slots": 2}, "slots is 2; circuits need 3 at least"),
        ({"student": replace(STUDENT, width=10)}, "width 10 is not a multiple of 4"),
        ({"student": replace(STUDENT, num_heads=3)}, "width 8 is not a multiple of num_heads 3"),
        (
            {"student": replace(STUDENT, mediators=7, prior="ring_of_cliques")},
            "7 mediators cannot be parted into equal groups",
        ),
        ({**FREE, "patch": 3}, "patches of 3 × 3 do not fill images of 8 × 8"),
    ],
)
def test_options_that_do_not_go_together(options, wrong, data):
    with pytest.raises(ConfigError, match=wrong):
        brickwork.override(run(**options), [])
        build_system("m2mkd", run(**options).model, data, 0)


def test_options_of_the_other_student_are_refused():
    with pytest.raises(ConfigError, match=r"unknown option 'model\.student\.experts'"):
        brickwork.override(run(), ["model.student.experts=2"])


def test_a_vector_has_one_size(whole, data):
    system = brickwork.load(whole)
    images = data.test.columns["input"][:2]
    with pytest.raises(ConfigError, match="layers"):
        system.encode(images, layers=2)
    with pytest.raises(ConfigError, match="latents in the place of patches"):
        system.encoder.features(torch.zeros(1, 1, 8, 8))
    with pytest.raises(DataError, match="uint8"):
        system.encode(images.astype(np.float32))
