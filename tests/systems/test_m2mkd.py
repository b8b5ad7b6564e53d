"""m2mKD: what learns in which stage, the loss, slots apart and together, one slot anew, teachers that are given."""

import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax, rel_entr, softmax

import brickwork
from brickwork.api import train as api
from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, DataError
from brickwork.core.types import LossOutput
from brickwork.data.config import ImageDataConfig
from brickwork.data.load import load_task
from brickwork.modules.slots import compose
from brickwork.representation.contract import build_system
from brickwork.representation.load import load_representation
from brickwork.representation.model import Representation
from brickwork.systems.m2mkd import lessons
from brickwork.systems.m2mkd.config import Config, Experts, stages_of
from brickwork.systems.m2mkd.recipes import smoke

DATA = ImageDataConfig(source="digits", limit=300)
STUDENT = Experts(width=8, depth=2, num_heads=2, experts=3, active=2)
TINY = Config(student=STUDENT, slots=2, patch=4, teacher_width=16, teacher_depth=2)


@pytest.fixture(scope="module")
def data():
    return load_task(DATA, 0)


def run(steps=16, start="", **model):
    train = replace(smoke().train, steps=steps, batch_size=16, validate_every=0, log_every=100)
    return replace(smoke(), model=replace(TINY, **model), data=DATA, train=train, start=start)


def built(data, **model):
    return build_system("m2mkd", replace(TINY, **model), data, 0)


def trained(folder, **options):
    return api.train(run(**options), folder, measure=False).system


def batch_of(system, data, stage, rows=8):
    batch = system.collate(data.train.take(range(rows)))
    return {**batch, "step": 3, "indices": list(range(rows)), "stage": stage}


# ---- the loss ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tau", "alpha", "theirs"),
    [
        (1.0, 0.0, 3.1150584251536593),
        (1.0, 0.5, 1.7047078398451785),
        (1.0, 1.0, 0.2943572545366978),
        (2.0, 0.5, 1.7387314010041073),
        (2.0, 1.0, 0.3624043768545552),
    ],
)
def test_the_loss_is_that_of_the_authors(data, monkeypatch, tau, alpha, theirs):
    """Values: ``DistillationLoss`` (soft) of kamanphoebe/m2mKD at 067fa1f, which divides by the number of logits as its
    ``m2mKDLoss`` does, run on these tensors; and the same with scipy, whose mean over rows is C times larger."""
    i, c = torch.arange(4.0)[:, None], torch.arange(5.0)[None]
    s, t = (2 * torch.sin(3 * i + c)).double(), (2 * torch.cos(2 * i - c)).double()
    y = torch.full((4, 5), 0.02, dtype=torch.float64)
    y[torch.arange(4), torch.tensor([0, 2, 4, 1])] += 0.9
    losses = {}
    for reduction in ("numel", "batchmean"):
        # α = 0 has no teacher at all; here its weight alone is wanted.
        system = built(data, alpha=alpha or 0.5, temperature=tau, reduction=reduction)
        if not alpha:
            monkeypatch.setattr(Config, "weight", 0.0)
        monkeypatch.setattr(system, "_seen", lambda batch: (batch["input"], y))
        monkeypatch.setattr(lessons, "slot_answers", lambda system, x, place: (s, t))
        losses[reduction] = float(system.loss({"input": s, "label": None, "stage": "slot 1"}).total)
    assert losses["numel"] == pytest.approx(theirs, rel=1e-12)
    hard = -(y.numpy() * log_softmax(s.numpy(), 1)).sum(1).mean()
    soft = rel_entr(softmax(t.numpy() / tau, 1), softmax(s.numpy() / tau, 1)).sum(1).mean()
    assert losses["batchmean"] == pytest.approx((1 - alpha) * hard + alpha * tau**2 * soft, rel=1e-12)


def test_a_slot_that_is_the_teachers_has_nothing_to_learn_from_it(data, monkeypatch):
    """KL = 0 where s = t."""
    system = built(data).eval()
    batch = batch_of(system, data, "slot 2")
    s, _ = lessons.slot_answers(system, batch["input"], 1)
    monkeypatch.setattr(lessons, "slot_answers", lambda system, x, place: (s, s))
    assert system.loss(batch).terms["distillation"].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("place", [0, 1])
def test_student_and_teacher_answer_in_the_same_place(data, place):
    """By hand: h = M_{<i}(x), t = M_{>i}(T_i(h)), s = M_{>i}(ψ(S(φ(h))))."""
    system = built(data).eval()
    x = batch_of(system, data, "")["input"]
    meta, teacher, student = system.meta.slots(2), system.teacher.slots(2), system.student.slots()
    stitch = system.stitches[place]
    with torch.no_grad():
        s, t = lessons.slot_answers(system, x, place)
        if place == 0:
            torch.testing.assert_close(t, meta[1](teacher[0](x)))
            torch.testing.assert_close(s, meta[1](stitch.out(student[0](x))))
        else:
            torch.testing.assert_close(t, teacher[1](meta[0](x)))
            torch.testing.assert_close(s, student[1](stitch.into(meta[0](x))))


# ---- what learns -------------------------------------------------------------------------------------------------------


LEARNS = {
    "meta": {"meta"},
    "teacher 1": {"teacher"},
    "teacher": {"teacher"},
    "fit meta": {"meta"},
    "slot 1": {"student", "stitches"},
    "slot 2": {"student", "stitches"},
    "whole": {"student"},
}


@pytest.mark.parametrize("stage", LEARNS)
def test_no_gradient_reaches_what_a_stage_does_not_train(data, stage):
    """Neither M nor T learns in a slot, and of the student and its stitches only the slot's own."""
    system = built(data).train()
    system.start_stage(stage)
    assert all(p.grad is None for p in system.parameters()), "what was tried to be counted leaves nothing"
    system.loss(batch_of(system, data, stage)).total.backward()
    reached = {name for name, p in system.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert {name.partition(".")[0] for name in reached} == LEARNS[stage]
    if stage == "slot 2":
        own = {id(p) for part in (system.student.slots()[1], system.stitches[1]) for p in part.parameters()}
        assert {id(p) for n, p in system.named_parameters() if n in reached} <= own
    if stage == "teacher 1":
        assert not any(name.startswith(("teacher.vit.blocks.1", "teacher.maps")) for name in reached)


def test_without_stages_frozen_parts_get_no_gradient_either(data):
    system = built(data, alpha=0.5).eval()
    batch = batch_of(system, data, "slot 1")
    system.loss(batch).total.backward()
    assert all(p.grad is None for part in (system.meta, system.teacher) for p in part.parameters())


def test_stitches_are_thrown_away_or_kept(data):
    """The assembled student has the parameters of one that never had any; kept, two maps more between its slots."""
    plain = sum(p.numel() for p in built(data).student.parameters())
    alone = sum(
        p.numel()
        for p in built(data, learn="end_to_end", teacher_width=None, teacher_depth=None).parameters()
    )
    kept = sum(p.numel() for p in built(data, keep_stitches=True).student.parameters())
    outer, inner = 16, 8
    assert plain == alone
    assert kept - plain == (outer + 1) * inner + (inner + 1) * outer + 2 * (outer + inner)


def test_kept_stitches_join_the_slots(data):
    """ψ₁ then φ₂ stand between the slots; by hand."""
    system = built(data, keep_stitches=True).eval()
    x = batch_of(system, data, "")["input"]
    system.start_stage("whole")
    first, second = system.student.slots()
    by_hand = second(system.stitches[1].into(system.stitches[0].out(first(x))))
    torch.testing.assert_close(system.student.logits(x), by_hand)


def test_slots_composed_are_the_student(data):
    system = built(data).eval()
    x = batch_of(system, data, "")["input"]
    torch.testing.assert_close(compose(system.student.slots(), x), system.student.logits(x))


def test_balance_evens_the_use_of_experts(data):
    """The Switch loss of every layer, whose mean is 1 where use is even (Fedus et al., eq. 4)."""
    system = built(data, student=replace(STUDENT, balance=0.25)).eval()
    output = system.loss(batch_of(system, data, "whole"))
    assert isinstance(output, LossOutput)
    assert output.weights["balance"] == 0.25
    assert 0.5 < output.terms["balance"].item() < 3
    assert "balance" not in built(data).eval().loss(batch_of(system, data, "whole")).terms


# ---- trainings ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "run"
    trained(folder, prepare=True)
    return folder


@pytest.fixture(scope="module")
def slots(prepared, tmp_path_factory):
    folders = [tmp_path_factory.mktemp("slots") / f"slot-{number}" for number in (1, 2)]
    for number, folder in enumerate(folders, 1):
        trained(folder, start=str(prepared), slot=number, steps=4)
    return folders


@pytest.fixture(scope="module")
def whole(prepared, slots, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    trained(folder, start=str(prepared), parts=tuple(map(str, slots)), steps=4)
    return folder


def weights(folder):
    return brickwork.load(folder).state_dict()


def test_stages_share_the_steps():
    names = ["meta", "teacher 1", "teacher 2", "teacher", "fit meta", "slot 1", "slot 2", "whole"]
    stages = stages_of(TINY, 1000)
    assert [stage.name for stage in stages] == names
    assert [stage.steps for stage in stages] == [120, 50, 50, 100, 80, 150, 150, 300]
    kinds = {
        "prepare": replace(TINY, prepare=True),
        "slot": replace(TINY, slot=2),
        "renew": replace(TINY, renew=1, slots_share=0.5),
        "alone": replace(TINY, alpha=0.0, teacher_depth=None),
    }
    found = {name: [(s.name, s.steps) for s in stages_of(config, 100)] for name, config in kinds.items()}
    assert [name for name, _ in found["prepare"]] == names[:5]
    assert found["slot"] == [("slot 2", 100)]
    assert found["renew"] == [("slot 1", 50), ("fit 1", 50)]
    assert found["alone"] == [("meta", 40), ("slot 1", 15), ("slot 2", 15), ("whole", 30)]
    with pytest.raises(ConfigError, match="too few for 8 stages"):
        stages_of(TINY, 7)


def test_slots_in_processes_of_their_own_have_the_bits_of_one_after_the_other(prepared, slots, tmp_path):
    """Both at once, in the other order; ``slots`` were trained one after the other in this process."""
    fork = multiprocessing.get_context("fork")
    started = [
        fork.Process(target=_train_slot, args=(tmp_path / str(number), str(prepared), number))
        for number in (2, 1)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    assert [process.exitcode for process in started] == [0, 0]
    for number, folder in enumerate(slots, 1):
        mine, theirs = weights(folder), weights(tmp_path / str(number))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def _train_slot(folder, start, number):
    trained(folder, start=start, slot=number, steps=4)


def test_parts_are_assembled(prepared, slots, whole):
    """Each slot comes from its run, and the ledger counts all of them; then the student learns on."""
    from brickwork.systems.m2mkd.assembly import from_parts
    from brickwork.systems.m2mkd.system import System

    parts = tuple(map(str, slots))
    finished = brickwork.load(prepared)
    facts = {name: finished._facts[name] for name in ("classes", "image_shape")}
    system = System.continued(finished, replace(TINY, parts=parts), seed=0, **facts)
    for place, folder in enumerate(slots):
        its = brickwork.load(folder).student.slots()[place].state_dict()
        mine = system.student.slots()[place].state_dict()
        assert all(torch.equal(mine[name], its[name]) for name in its)
    spent = brickwork.load(whole).ledger
    assert set(spent.spent()) == {"meta", "teacher", "slot 1", "slot 2", "whole"}
    steps = {"meta": 0, "teacher": 0, "slot 1": 4, "slot 2": 4, "whole": 4}
    for stage in stages_of(replace(TINY, prepare=True), 16):
        steps["meta" if stage.name in ("meta", "fit meta") else "teacher"] += stage.steps
    assert spent.images.tolist() == [16 * n for n in steps.values()] + [0]
    with pytest.raises(ArtifactError, match="both hold slot 1"):
        from_parts(system, (parts[0], parts[0]))


def test_one_slot_anew_leaves_the_others_to_the_bit(whole, tmp_path):
    before = weights(whole)
    system = trained(tmp_path / "new", start=str(whole), renew=2, steps=6)
    after = system.state_dict()
    own = {id(p) for part in (system.student.slots()[1], system.stitches[1]) for p in part.parameters()}
    changed = {n for n, p in system.named_parameters() if not torch.equal(before[n], after[n])}
    assert changed
    assert {id(p) for n, p in system.named_parameters() if n in changed} <= own
    assert system.encoder.network.blocks[0].attention.qkv.weight.equal(
        before["student.encoder.network.blocks.0.attention.qkv.weight"]
    )


def test_what_a_part_of_a_training_answers(prepared, slots, whole, data):
    images = data.test.columns["input"][:5]
    answering = {folder: brickwork.load(folder).answering() for folder in (prepared, slots[1], whole)}
    assert list(answering.values()) == ["teacher", "student_slot_2", "student"]
    for folder in answering:
        answer = brickwork.load(folder).predict({"input": images})
        assert len(answer["label"]) == 5
        assert set(answer["label"]) <= {str(digit) for digit in range(10)}


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"slot": 1}, "model.slot goes on from a finished run"),
        ({"slot": 3}, "slot is 3; there are slots=2"),
        ({"slot": 1, "renew": 1}, "slot and renew are different trainings"),
        ({"parts": ("a",)}, "parts names 1 folders; give one for each of slots=2"),
        ({"slots": 3}, r"student\.depth 2 cannot be cut into slots=3"),
        ({"alpha": 0.0}, "alpha=0: there is no teacher"),
        ({"learn": "end_to_end"}, "learn=end_to_end: there is no teacher"),
        ({"teacher": "a", "backbone": "b"}, "both name a teacher"),
        ({"student": replace(STUDENT, active=4)}, "active is 4; there are experts=3"),
        ({"keep_stitches": True, "learn": "distil"}, "keep_stitches has no effect"),
        ({"refit": False, "learn": "distil"}, "refit=false is of slots"),
        ({"control": True, "prepare": True}, "control has no effect with prepare"),
    ],
)
def test_options_that_do_not_go_together(options, wrong, data):
    with pytest.raises(ConfigError, match=wrong):
        brickwork.override(run(**options), [])
        build_system("m2mkd", run(**options).model, data, 0)


@pytest.mark.parametrize(
    ("options", "error", "wrong"),
    [
        ({}, ConfigError, "say which"),
        (
            {"slot": 1, "slots": 3, "student": replace(STUDENT, depth=3), "teacher_depth": 3},
            ConfigError,
            "model.slots is 3, and 2",
        ),
        ({"renew": 1}, ConfigError, "has none yet"),
        ({"slot": 1, "teacher_width": 32}, ConfigError, "model.teacher_width is 32, and 16"),
    ],
)
def test_what_cannot_go_on_from_a_prepared_run(prepared, tmp_path, options, error, wrong):
    with pytest.raises(error, match=wrong):
        api.train(run(start=str(prepared), **options), tmp_path / "run", measure=False)
    assert not (tmp_path / "run" / "config.json").exists()


def test_parts_that_do_not_belong_together(prepared, slots, tmp_path):
    other = run(start=str(prepared), parts=(str(slots[0]), str(prepared)))
    with pytest.raises(ArtifactError, match="holds no slot"):
        api.train(other, tmp_path / "a", measure=False)
    wider = replace(STUDENT, width=16)
    with pytest.raises(ArtifactError, match=r"slot 1 is of another student: .*\(16,"):
        api.train(
            run(start=str(prepared), parts=tuple(map(str, slots)), student=wider),
            tmp_path / "b",
            measure=False,
        )
    trained(tmp_path / "elsewhere", prepare=True, patch=2)
    with pytest.raises(ArtifactError, match="in another meta network"):
        api.train(
            run(start=str(tmp_path / "elsewhere"), parts=tuple(map(str, slots)), patch=2),
            tmp_path / "c",
            measure=False,
        )


def test_a_slot_that_computes_otherwise_is_of_another_student(prepared, slots, tmp_path):
    """With one expert for a token, or other heads, its weights have the same shapes."""
    for name, value in (("active", 1), ("num_heads", 1)):
        other = replace(STUDENT, **{name: value})
        again = run(start=str(prepared), parts=tuple(map(str, slots)), student=other)
        with pytest.raises(ArtifactError, match=f"slot 1 is of another student: its {name} is 2, and 1 here"):
            api.train(again, tmp_path / name, measure=False)
        assert not (tmp_path / name / "config.json").exists()


def test_vectors_of_a_part_of_a_training_are_told(prepared, slots, whole, data, recwarn):
    images = data.test.columns["input"][:3]
    for folder, part in ((prepared, "teacher and meta network"), (slots[1], "slot 2")):
        with pytest.warns(
            BrickworkWarning, match=f"has trained {part} alone: its vectors are those of a student"
        ):
            assert brickwork.load(folder).encode(images).shape == (3, 8)
        with pytest.warns(BrickworkWarning, match="not learnt"):
            load_representation(folder)
    recwarn.clear()
    brickwork.load(whole).encode(images)
    assert not recwarn.list


def test_texts_are_refused(labelled_texts):
    with pytest.raises(DataError, match="holds texts, and m2mkd reads images"):
        build_system("m2mkd", TINY, labelled_texts, 0)


# ---- teachers that are given -------------------------------------------------------------------------------------------


GIVEN = {"patch": None, "teacher_width": None, "teacher_depth": None}


def test_a_pretrained_vit_is_the_teacher(tmp_path):
    """A tiny checkpoint as transformers writes it; its slots are what transformers computes, and stay as they are."""
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    torch.manual_seed(0)
    theirs = ViTModel(
        ViTConfig(hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=24, image_size=8,
                  patch_size=4, num_channels=3),
        add_pooling_layer=False,
    ).eval()  # fmt: skip
    theirs.save_pretrained(tmp_path / "vit")
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]
    ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=mean, image_std=std).save_pretrained(
        tmp_path / "vit"
    )
    pixels = np.random.default_rng(0).integers(0, 256, (40, 20, 12, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):  # of another size than the teacher takes
        (tmp_path / "photos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png")
    made = replace(
        run(**GIVEN, backbone=str(tmp_path / "vit")), data=ImageDataConfig(source=str(tmp_path / "photos"))
    )
    system = api.train(made, tmp_path / "run", measure=False).system
    assert system.image_shape == (8, 8, 3)
    x = torch.rand(4, 3, 8, 8) * 2 - 1
    as_theirs = ((x + 1) / 2 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    expected = theirs(as_theirs).last_hidden_state
    with torch.no_grad():
        torch.testing.assert_close(
            system.teacher.vit.norm(_before_read(system, x)), expected, atol=1e-5, rtol=1e-5
        )
    assert system.lineage["teacher"]["backbone"] == str(tmp_path / "vit")
    again = brickwork.load(tmp_path / "run")
    assert again.meta.vit.num_layers == 2
    assert again.teacher.vit.num_layers == 4
    assert {"meta", "teacher", "teacher_slot_2", "student_slot_1", "student"} <= set(again.networks())


def _before_read(system, x):
    """The last tokens of the teacher, slot by slot."""
    *first, last = system.teacher.slots(2)
    return last[0](compose(first, x))


def test_the_meta_network_of_a_given_teacher_begins_as_its_layers(tmp_path):
    """Each slot's last layer, the patches and the classifier are copies; a finished run of another system is the teacher."""
    folder = _finished_vit(tmp_path)
    system, _ = api.build(run(**GIVEN, teacher=str(folder)))
    system.start_stage("fit meta")
    teacher, meta = system.teacher, system.meta
    assert meta.vit.num_layers == 2
    for place, layer in enumerate((1, 2)):
        mine, its = meta.vit.blocks[place].state_dict(), teacher.vit.blocks[layer].state_dict()
        assert all(torch.equal(mine[name], its[name]) for name in its)
    assert torch.equal(meta.maps[-1].weight, teacher.maps[-1].weight)
    x = system.collate({"input": load_task(DATA, 0).test.columns["input"][:4]})["input"]
    with torch.no_grad():
        encoder = load_representation(folder).encoder
        torch.testing.assert_close(system.teacher.vector(x), encoder(x)[3])


def _finished_vit(folder):
    from brickwork.encoders.config import ImageEncoderConfig
    from brickwork.encoders.image import ImageEncoder

    torch.manual_seed(1)
    config = ImageEncoderConfig(architecture="vit", width=16, depth=3, patch=4, embedding_dim=12, num_heads=2)
    encoder = ImageEncoder(config, (8, 8, 1))
    from brickwork.core.elastic import ElasticAxes

    Representation(encoder, ElasticAxes(dims=(12,), layers=(3,))).save(folder / "vit")
    return folder / "vit"


def test_teachers_that_cannot_be_cut(tmp_path, data):
    from brickwork.core.elastic import ElasticAxes
    from brickwork.encoders.config import ImageEncoderConfig
    from brickwork.encoders.image import ImageEncoder

    encoder = ImageEncoder(
        ImageEncoderConfig(architecture="mlp", width=8, depth=1, embedding_dim=8), (8, 8, 1)
    )
    Representation(encoder, ElasticAxes(dims=(8,), layers=(1,))).save(tmp_path / "mlp")
    with pytest.raises(ConfigError, match="holds no plain vision transformer"):
        build_system("m2mkd", replace(TINY, **GIVEN, teacher=str(tmp_path / "mlp")), data, 0)
    other = ImageEncoder(
        ImageEncoderConfig(architecture="vit", width=8, depth=2, patch=4, embedding_dim=8, num_heads=2),
        (16, 16, 1),
    )
    Representation(other, ElasticAxes(dims=(8,), layers=(2,))).save(tmp_path / "large")
    with pytest.raises(DataError, match=r"the teacher takes \(16, 16, 1\): use --set data.image_size=16"):
        build_system("m2mkd", replace(TINY, **GIVEN, teacher=str(tmp_path / "large")), data, 0)


# ---- what users get ----------------------------------------------------------------------------------------------------


def test_the_encoder_of_experts_is_saved_alone(whole, data, tmp_path):
    """As an encoder without its system, with what is inside it."""
    system = brickwork.load(whole)
    images = data.test.columns["input"][:6]
    system.representation().save(tmp_path / "encoder")
    alone = brickwork.load(tmp_path / "encoder")
    np.testing.assert_array_equal(alone.encode(images), system.encode(images))
    assert alone.encoder.flops() == system.encoder.flops() > 0
    with torch.no_grad():
        first = torch.equal(
            alone.encoder.network.blocks[0].mlp.experts.up.weight,
            system.encoder.network.blocks[0].mlp.experts.up.weight,
        )
    assert first


def test_the_ledger_counts_forward_and_backward(data):
    """By hand, of the last classifier of a teacher whose body does not run: one matrix, forward and for its gradients."""
    from brickwork.systems.m2mkd.ledger import Ledger

    ledger = Ledger(2)
    matrix = torch.nn.Linear(6, 4)
    ledger.price("whole", lambda: matrix(torch.ones(2, 6)).sum().backward(), 2)
    ledger.spend("whole", 10)
    forward = 2 * 6 * 4
    assert ledger.spent() == {"whole": 10.0 * 2 * forward}  # the inputs need no gradient
    ledger.spend("fit 1", 3)
    assert ledger.images.tolist() == [0, 0, 0, 0, 13, 0]


def test_the_price_of_an_image_is_that_of_its_matrices(data):
    """In closed form: a matrix counts 2·rows·in·out, thrice where it learns and passes a gradient on, twice where it does
    one of both; attention 4·N²·D forward and 2.5 times as much backward, as it is computed again there. Five blocks in
    slots of three and two: what ``fit meta`` costs depends on the slot that is drawn, and the mean counts."""
    system = built(data, teacher_depth=5, patch=2).train()
    tokens, width, classes = 17, 16, 10
    matrices = 2 * tokens * width * (3 * width + width + 8 * width)
    attention = 4 * tokens * tokens * width
    learnt, passed, forward = (
        3 * matrices + 3.5 * attention,
        2 * matrices + 3.5 * attention,
        matrices + attention,
    )
    patches, head = 2 * 16 * 4 * width, 2 * width * classes
    meta = 2 * patches + 2 * learnt + 3 * head
    first = patches + 3 * forward + learnt + 3 * head  # nothing before the layer learns
    second = 2 * patches + learnt + 2 * passed + 2 * head
    closed = {
        "meta": meta,
        "teacher 1": 2 * patches + 3 * learnt + passed + 2 * head,
        "teacher 2": patches + forward + 2 * learnt + 3 * head,
        "teacher": 2 * patches + 5 * learnt + 3 * head,
        "fit meta": meta + (first + second) / 2,
    }
    for stage, flops in closed.items():
        system.start_stage(stage)
        assert system.ledger.price_of(stage) == flops, stage


def test_each_process_counts_for_all(monkeypatch):
    """A step's images are dealt out to the processes evenly, and the first one's ledger is kept."""
    from brickwork.systems.m2mkd import ledger

    one, two = ledger.Ledger(2), ledger.Ledger(2)
    one.spend("meta", 8)
    monkeypatch.setattr(ledger, "world_size", lambda: 2)
    two.spend("meta", 4)
    assert one.images.tolist() == two.images.tolist() == [8, 0, 0, 0, 0, 0]


def test_what_goes_on_from_a_whole_run_counts_what_it_keeps(whole, slots, data):
    """A slot from it has the teacher's cost alone, and no student; a slot anew has all of the cost."""
    from brickwork.systems.m2mkd.system import System

    finished = brickwork.load(whole)
    facts = {name: finished._facts[name] for name in ("classes", "image_shape")}
    alone, assembled, anew = (
        System.continued(finished, replace(TINY, **asked), seed=0, **facts)
        for asked in ({"slot": 1}, {"parts": tuple(map(str, slots))}, {"renew": 1})
    )
    assert set(alone.ledger.spent()) == {"meta", "teacher"}
    assert not {"student", "student_slot_1", "student_slot_2"} & set(alone.networks())
    spent = finished.ledger.spent()
    assert assembled.ledger.spent() == {name: spent[name] for name in spent if name != "whole"}
    assert anew.ledger.spent() == spent


def test_pictures_and_scores(whole, data):
    system = brickwork.load(whole)
    scores = system.evaluate(data.test)
    assert {"accuracy", "meta", "teacher_slot_1", "student_slot_2", "gflops whole"} <= set(scores)
    titles = [drawing.title for drawing in system.draw(data.test)]
    assert titles == ["The slots in a row", "What each phase has cost"]
    assert "no longer have to fit into the meta network" in system.draw(data.test)[0].lead
    assert system.draw(data.test.select([])) == []


def test_networks_that_were_not_trained_have_no_accuracy(slots, data):
    """Not that of the student under their names."""
    system = brickwork.load(slots[1])
    for name in ("student_slot_1", "teacher_slot_3"):
        with pytest.raises(
            ConfigError, match=f"'{name}' is no network .*: student, meta, teacher, teacher_slot_1"
        ):
            system.accuracies(data.test, ["meta", name])


def test_what_is_watched_while_it_trains(data):
    """What the stage trains and no more: validation is often, and a teacher may be large."""
    system = built(data)
    seen = {}
    for stage in stages_of(TINY, 100):
        system.train().start_stage(stage.name)
        system.loss(batch_of(system, data, stage.name))
        seen[stage.name] = sorted(system.eval().watch(data.validation))
    assert seen == {
        "meta": ["meta"],
        "teacher 1": ["meta", "teacher_slot_1"],
        "teacher 2": ["meta", "teacher_slot_2"],
        "teacher": ["teacher"],
        "fit meta": ["meta", "teacher", "teacher_slot_1", "teacher_slot_2"],
        "slot 1": ["student_slot_1"],
        "slot 2": ["student_slot_2"],
        "whole": ["accuracy"],
    }


def test_slots_that_do_not_fit_are_told(data, recwarn):
    """95 % of 10 … of 100 right is below 60 of 100; 55 of 100 is not."""
    from brickwork.systems.m2mkd.hybrids import misfits

    assert misfits({"meta": 0.6, "teacher_slot_1": 0.1, "teacher_slot_2": 0.55}, 100) == ["1"]
    system = built(data)
    system._below = ["2"]
    with pytest.warns(BrickworkWarning, match="slots 2 of the teacher are worse"):
        system.eval().start_stage("slot 1")
