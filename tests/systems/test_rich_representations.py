"""Rich representations: heads averaged, members apart, two stages, distillation, and what users do with it."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import brickwork
from brickwork.api import train as api
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.data.load import load_task
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig, TextEncoderConfig
from brickwork.evaluation.significance import Difference
from brickwork.representation.contract import build_system
from brickwork.systems.rich_representations.config import Config, stages_of
from brickwork.systems.rich_representations.data import Data, load_data, split_new
from brickwork.systems.rich_representations.drawing import _points
from brickwork.systems.rich_representations.members import published
from brickwork.systems.rich_representations.recipes import smoke
from brickwork.systems.rich_representations.transfer import transfer
from vision_checkpoints import image_checkpoint

ENCODER = ImageEncoderConfig(architecture="mlp", embedding_dim=8, width=16, depth=1)
DATA = Data(source="digits", limit=400, new_classes=5)


@pytest.fixture(scope="module")
def data():
    return load_data(DATA, 0)


def run(steps=40, **model):
    train = replace(smoke().train, steps=steps, batch_size=16, validate_every=0)
    return replace(
        smoke(), model=Config(**{"encoder": ENCODER, "members": 2, **model}), data=DATA, train=train
    )


def built(data, seed=0, **model):
    return build_system("rich-representations", run(**model).model, data, seed).eval()


def batch_of(system, data, rows=16):
    return {**system.collate(data.train.take(range(rows))), "step": 0, "indices": list(range(rows))}


def trained(folder, seed=0, start="", **options):
    return api.train(replace(run(**options), seed=seed, start=start), folder, measure=False).system


# ---- heads ------------------------------------------------------------------------------------------------------------


def test_averaged_heads_give_the_mean_of_the_logits(data):
    """cat^sub: W = [W_1 … W_n]/n, b = Σ b_i/n, applied to the joint vector (TjuJianyu/RRL's loading of heads)."""
    system = built(data, members=3)
    x = batch_of(system, data)["input"]
    system.head.load_state_dict(system.averaged_heads())
    joint = system.head(torch.cat(system.encoder.blocks(x), 1))
    apart = torch.stack([system.member_logits(x, place) for place in range(3)])
    torch.testing.assert_close(joint, apart.mean(0))


def test_without_a_share_the_answer_is_the_average(data):
    system = built(data, head_share=0.0)
    x = batch_of(system, data)["input"]
    apart = torch.stack([system.member_logits(x, place) for place in range(2)])
    torch.testing.assert_close(system.logits(x), apart.mean(0))
    assert not hasattr(system, "head")


def test_one_member_is_the_single_network(tmp_path):
    """Cat_1 ≡ single: the first of three members has the bits of a training of it alone."""
    three = trained(tmp_path / "three", members=3, steps=60, head_share=0.0)
    one = trained(tmp_path / "one", members=1, steps=20, head_share=0.0)
    for name, tensor in one.encoder.members[0].state_dict().items():
        assert torch.equal(tensor, three.encoder.members[0].state_dict()[name]), name
    assert torch.equal(one.heads[0].weight, three.heads[0].weight)
    others = [member.state_dict()["network.1.weight"] for member in three.encoder.members]
    assert not torch.equal(others[0], others[1])
    assert not torch.equal(others[1], others[2])


# ---- stages -----------------------------------------------------------------------------------------------------------


def test_stages_have_all_the_steps():
    named = {
        "apart": (Config(members=3), [("member 1", 30), ("member 2", 30), ("member 3", 30), ("head", 10)]),
        "distilled": (Config(members=2, distil=True), [("member 1", 34), ("member 2", 33), ("distil", 33)]),
        "jointly": (Config(members=3, learn="jointly"), [("jointly", 100)]),
        "joined": (Config(runs=("a", "b")), [("heads", 90), ("head", 10)]),
    }
    for config, expected in named.values():
        assert [(stage.name, stage.steps) for stage in stages_of(config, 100)] == expected
    with pytest.raises(ConfigError, match=r"train.steps=3 is too few for 4 stages"):
        stages_of(Config(members=3), 3)


def test_a_stage_trains_its_own_member_alone(data):
    system = built(data)
    system.train()
    loss = system.loss({**batch_of(system, data), "stage": "member 2"})
    loss.total.backward()
    reached = {name for name, p in system.named_parameters() if p.grad is not None}
    assert reached
    assert all(name.startswith(("encoder.members.1.", "heads.1.")) for name in reached)


def test_two_stages_leave_the_bodies_alone_in_the_second(tmp_path):
    """[2ft]: the head starts from the averaged ones; the members have the bits that their own stages left."""
    short = trained(tmp_path / "short", members=2, steps=40, head_share=0.0)
    whole = trained(tmp_path / "whole", members=2, steps=50, head_share=0.2)
    for name, tensor in short.encoder.members.state_dict().items():
        assert torch.equal(tensor, whole.encoder.members.state_dict()[name]), name
    assert not torch.equal(whole.head.weight, whole.averaged_heads()["weight"])


def test_snapshots_go_on_from_each_other(data):
    system = built(data, episodes="snapshots")
    first, second = (member.state_dict() for member in system.encoder.members)
    assert not all(torch.equal(first[name], second[name]) for name in first)
    system.start_stage("member 2")
    first, second = (member.state_dict() for member in system.encoder.members)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path):
    whole = trained(tmp_path / "whole", steps=40)
    halves = run(steps=40)
    halves = replace(halves, train=replace(halves.train, save_every=5))

    api.train(halves, tmp_path / "half", measure=False)
    shutil.rmtree(tmp_path / "half" / "checkpoints" / "step-00000040")  # what is left is in the head's stage
    (step,) = (tmp_path / "half" / "checkpoints").iterdir()
    assert step.name < "step-00000040"
    again = api.resume(tmp_path / "half").system
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


# ---- distillation -----------------------------------------------------------------------------------------------------


def test_a_student_that_is_its_teacher_has_no_loss(data):
    system = built(data, members=1, distil=True)
    system.encoder.load_state_dict(system.teacher.members[0].state_dict())
    system.student_heads[0].load_state_dict(system.heads[0].state_dict())
    batch = {**batch_of(system, data), "stage": "distil"}
    assert system.loss(batch).terms["distillation"].item() == pytest.approx(0, abs=1e-5)


def test_the_loss_of_a_student_is_torchs(data):
    """τ²·KL of torch.nn.functional.kl_div, mean over teachers."""
    system = built(data, members=2, distil=True, temperature=4.0)
    batch = {**batch_of(system, data), "stage": "distil"}
    x = batch["input"]
    z = system.encoder(x)[1]
    expected = [
        16
        * torch.nn.functional.kl_div(
            (student(z) / 4).log_softmax(-1),
            (system.member_logits(x, place) / 4).softmax(-1),
            reduction="batchmean",
        )
        for place, student in enumerate(system.student_heads)
    ]
    torch.testing.assert_close(system.loss(batch).total, torch.stack(expected).mean())


def test_a_distilled_model_is_one_network(tmp_path, data):
    system = trained(tmp_path / "run", distil=True, steps=60)
    loaded = brickwork.load(tmp_path / "run")
    assert loaded.axes.dims == (8,)
    assert loaded.members is None
    inputs = data.test.columns["input"][:9]
    np.testing.assert_array_equal(loaded.probabilities(inputs), system.probabilities(inputs))
    sizes = {p.numel() for p in loaded.encoder.parameters()}
    assert sizes == {p.numel() for p in system.teacher.members[0].parameters()}
    names = json.loads((tmp_path / "run" / "brickwork.json").read_text())["architecture"]["encoder"]
    assert "members" not in names


# ---- what users do ----------------------------------------------------------------------------------------------------


def test_prefixes_are_members_and_blocks_count_alike(tmp_path, data):
    system = trained(tmp_path / "run", steps=40)
    inputs = np.asarray(data.test.columns["input"][:40])
    first = brickwork.load(tmp_path / "run").encode(inputs, dim=8, precision="fp32")
    own = system.encoder.members[0](system.encoder.prepare(inputs))[1].detach().numpy()
    np.testing.assert_allclose(first, own / np.linalg.norm(own, axis=1, keepdims=True), atol=1e-6)
    whole = system.encode(np.asarray(data.train.columns["input"]), normalize=False, precision="fp32")
    lengths = [np.linalg.norm(whole[:, a : a + 8], axis=1).mean() for a in (0, 8)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-4)


def test_finished_runs_are_joined_as_they_are(tmp_path):
    singles = [trained(tmp_path / str(seed), seed=seed, members=1, steps=20) for seed in (1, 2)]
    runs = tuple(str(tmp_path / str(seed)) for seed in (1, 2))
    joined = trained(tmp_path / "joined", members=None, runs=runs, steps=20)
    for single, member in zip(singles, joined.encoder.members):
        for name, tensor in single.encoder.members[0].state_dict().items():
            assert torch.equal(tensor, member.state_dict()[name]), name
    lineage = brickwork.load(tmp_path / "joined").representation().lineage
    fingerprints = [single.representation().fingerprint for single in singles]
    assert lineage["members"] == [
        {"run": name, "fingerprint": one} for name, one in zip(("1", "2"), fingerprints)
    ]


def test_a_finished_run_is_fine_tuned_on_other_classes(tmp_path):
    trained(tmp_path / "source", steps=30)
    target = replace(run(steps=30), data=Data(source="digits", limit=300), start=str(tmp_path / "source"))
    system = api.train(target, tmp_path / "target", measure=False).system
    assert len(system.classes) == 10
    assert brickwork.load(tmp_path / "target").head.out_features == 10
    with pytest.raises(ConfigError, match=r"has 2: use --set model.members=2"):
        api.train(replace(target, model=Config(encoder=ENCODER, members=3)), tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_what_does_not_fit_is_refused(tmp_path, data):
    with pytest.raises(ConfigError, match="trains no member: name finished runs"):
        built(data, learn="heads")
    trained(tmp_path / "a", members=1, steps=10)
    texts = load_task(replace(DATA, source="toy", new_classes=0, limit=100), 0)
    with pytest.raises(DataError, match=r"holds texts, and .*a reads images"):
        built(replace(texts, kind="labelled"), members=None, runs=(str(tmp_path / "a"),))
    shape = np.zeros((4, 9, 9, 1), np.uint8)
    with pytest.raises(ConfigError, match="the same model more than once"):
        built(data, members=None, runs=(str(tmp_path / "a"), str(tmp_path / "a")))
    with pytest.raises(DataError, match=r"data.image_size=8"):
        larger = type(data.train)({"input": shape, "label": [0, 1, 0, 1]})
        built(replace(data, train=larger), members=None, runs=(str(tmp_path / "a"),))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": ("a",), "members": 2}, "members has no effect with runs"),
        ({"temperature": 2.0}, "temperature has no effect with distil=false"),
        ({"learn": "jointly", "distil": True}, "distil has no effect with learn=jointly"),
        ({"learn": "jointly", "head_share": 0.1}, "head_share has no effect with learn=jointly"),
        ({"distil": True, "head_share": 0.1}, "head_share has no effect with distil"),
        ({"learn": "jointly", "episodes": "snapshots"}, "episodes has no effect with learn=jointly"),
        ({"encoder": TextEncoderConfig(adapt="lora")}, "and join them: --set model.runs=runs/a,runs/b"),
    ],
)
def test_options_without_effect_are_refused(options, message):
    assert any(message in problem for problem in Config(**options).validate())


# ---- new labels -------------------------------------------------------------------------------------------------------


def test_new_classes_are_in_the_test_part_alone(data):
    assert data.num_classes == 5
    assert data.class_names == tuple("01234")
    assert max(data.train.columns["label"]) == 4
    assert max(data.validation.columns["label"]) == 4
    whole = load_task(replace(DATA, new_classes=0), 0)
    parts = (whole.train, whole.validation, whole.test)
    new = sum(int((np.asarray(part.columns["label"]) >= 5).sum()) for part in parts)
    assert int((np.asarray(data.test.columns["label"]) >= 5).sum()) == new
    with pytest.raises(DataError, match="new_classes=9 leaves 1 of the 10 classes"):
        load_data(replace(DATA, new_classes=9), 0)


def test_other_data_counts_its_classes_in_its_own_way(data):
    """Class '3' is label 0 there, and a class that was not trained on is label 1."""
    columns = {"input": data.test.columns["input"][:4], "label": [0, 1, 0, 1], "class": ["3", "x", "3", "x"]}
    known, new = split_new(Examples(columns), data.class_names)
    assert known.columns["label"].tolist() == [3, 3]
    assert len(new) == 2
    assert min(new.columns["label"]) >= 5


def test_accuracy_is_of_classes_that_were_learnt(data, tmp_path):
    system = built(data)
    places = np.asarray(data.test.columns["label"])
    new = data.test.select(np.flatnonzero(places >= 5).tolist())
    with pytest.warns(BrickworkWarning, match=f"none of the {len(new)} rows is of a class that was learnt"):
        assert system.evaluate(new) == {}
    assert system.evaluate(data.test) == system.evaluate(
        data.test.select(np.flatnonzero(places < 5).tolist())
    )
    for name, count in (("3", 4), ("cat", 4)):
        (tmp_path / name).mkdir()
        for place in range(count):
            Image.new("L", (8, 8), 40 * place).save(tmp_path / name / f"{place}.png")
    with pytest.warns(BrickworkWarning, match="not learnt, and left out where accuracy is measured: cat"):
        system.load_data(Data(source=str(tmp_path)), 0)


def test_transfer_is_measured_with_a_control_of_the_same_width(data):
    system = built(data, members=3)
    result = transfer(system.encoder, data.test, 0)
    assert len(result.joint) == len(result.control) == len(result.joint_rank) == 3
    assert result.joint[0] == result.control[0] == result.alone[0]
    assert result.joint_rank[2] > result.joint_rank[0]
    np.testing.assert_allclose(np.diag(result.alike), 1, atol=1e-6)
    for difference, before in ((result.gain, result.joint[0]), (result.over, result.control[-1])):
        assert difference.mean == pytest.approx(result.joint[-1] - before)
        assert difference.low <= difference.mean <= difference.high
    assert transfer(system.encoder, data.test.select([0, 1]), 0) is None
    drawings = system.draw(data.test)
    assert [one.title for one in drawings] == [
        "New labels against members",
        "How alike the members are",
        "Directions in use",
    ]
    gain = transfer(system.encoder, split_new(data.test, system.classes)[1], system.seed).gain
    assert f"{100 * gain.mean:+.1f} points [{100 * gain.low:+.1f}, " in drawings[0].lead
    assert len(built(data, distil=True).draw(data.test)) == 1


def test_members_that_began_as_a_pretrained_model_are_held_against_it(tmp_path):
    """Before a step of training each member is that model: all its answers are the same."""
    image_checkpoint("vit", tmp_path / "vit")
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    images = (rng.integers(0, 256, (60, 24, 24, 3)) // 2 + 40 * label[:, None, None, None]).astype(np.uint8)
    part = Examples({"input": images, "label": label.tolist()})
    task = TaskData(
        name="t", kind="labelled", modality="image", train=part, validation=part, test=part, num_classes=3,
        class_names=("a", "b", "c"),
    )  # fmt: skip
    config = Config(encoder=PretrainedImageConfig(backbone=str(tmp_path / "vit")), members=2)
    system = build_system("rich-representations", config, task, 0).eval()
    result = transfer(system.encoder, part, 0, published(config))
    assert result.untouched == result.alone[0] == result.alone[1]
    assert result.beyond.mean == pytest.approx(result.joint[-1] - result.untouched)
    lead = system.draw(part)[0].lead
    assert f"as it was published: {100 * result.untouched:.1f} % right" in lead
    shutil.rmtree(tmp_path / "vit")
    assert published(config) is None
    assert "as it was published" not in system.draw(part)[0].lead
    assert published(Config()) is None


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.01, 0.05, "+2.0 points [-1.0, +5.0], no clear difference"),
        (0.01, 0.05, "+2.0 points [+1.0, +5.0]"),
    ],
)
def test_a_difference_is_called_one_by_its_interval(low, high, words):
    assert _points(Difference(mean=0.02, low=low, high=high, p=0.5)) == words
