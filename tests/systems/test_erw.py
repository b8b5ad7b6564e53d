"""ERW: losses by hand, what each stage moves, a generator on a memorised set, a folder from training to pictures."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from PIL import Image
from typer.testing import CliRunner

import brickwork
from brickwork.api import train as api
from brickwork.cli.main import app
from brickwork.core.config import from_dict, override, to_dict
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.flops import count_flops
from brickwork.data.config import ImageDataConfig
from brickwork.data.load import load_task
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.representation.contract import build_system
from brickwork.systems.erw.config import Config
from brickwork.systems.erw.drawing import album_drawing
from brickwork.systems.erw.progress import PICTURES, Album, Spent
from brickwork.systems.erw.system import drawn_paths
from brickwork.systems.erw.transformer import sine_positions
from brickwork.training.loop import fit
from brickwork.training.run import planned_stages
from vision_checkpoints import image_checkpoint

SMOKE = api.recipe("erw", "smoke")


def images(count=24, side=8, channels=1, seed=0):
    """Bright squares at the left (class 0) or at the right (class 1) of a dark image."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    pixels = draw.integers(0, 40, (count, side, side, channels), dtype=np.uint8)
    for image, label in zip(pixels, labels):
        image[2:6, (1 if label == 0 else side - 4) : (4 if label == 0 else side - 1)] = 220
    return Examples({"input": pixels, "label": labels})


def task(**how) -> TaskData:
    examples = images(**how)
    return TaskData(
        name="squares", kind="labelled", modality="image", train=examples, validation=examples, test=examples,
        num_classes=2, class_names=("left", "right"),
    )  # fmt: skip


def make(data=None, **model):
    config = from_dict(Config, {**to_dict(SMOKE.model), **model})
    return build_system("erw", config, data or task(), 0)


def batch_of(system, data, step=0, **more):
    rows = list(range(8))
    return {**system.collate(data.train.take(rows)), "step": step, "indices": rows, **more}


def woken(system):
    """With modulations that are not zero, so that blocks do something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, p in system.generator.named_parameters():
            if "modulation" in name or name.startswith("out"):
                p.copy_(0.2 * torch.randn(p.shape, generator=generator))
    return system


# ---- the generator -------------------------------------------------------------------------------------------------


def test_a_fresh_block_is_the_identity_and_velocities_are_zero():
    system = make()
    x, t, y = torch.randn(3, 1, 8, 8), torch.rand(3), torch.tensor([0, 1, 2])
    velocity, hidden = system.generator(x, t, y)
    assert torch.equal(hidden, system.generator.embed(x))
    assert not velocity.any()


def test_a_block_written_out():
    block = woken(make()).generator.blocks[0]
    x, c = torch.randn(2, 5, 32), torch.randn(2, 32)
    b1, s1, g1, b2, s2, g2 = block.modulation(c * torch.sigmoid(c)).chunk(6, dim=1)

    def normed(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()

    y = normed(x) * (1 + s1[:, None]) + b1[:, None]
    q, k, v = block.attention.qkv(y).chunk(3, dim=-1)
    heads = [part.view(2, 5, 2, 16).transpose(1, 2) for part in (q, k, v)]
    mixed = (heads[0] @ heads[1].mT / 4).softmax(-1) @ heads[2]
    wanted = x + g1[:, None] * block.attention.out(mixed.transpose(1, 2).reshape(2, 5, 32))
    wanted = wanted + g2[:, None] * block.mlp(normed(wanted) * (1 + s2[:, None]) + b2[:, None])
    torch.testing.assert_close(block(x, c), wanted, atol=1e-5, rtol=1e-5)


def test_patches_come_back_where_they_were():
    generator = make(task(channels=3)).generator
    x = torch.randn(2, 3, 8, 8)
    pixels = F.unfold(x, 2, stride=2).transpose(1, 2)  # (B, N, C·p·p): channels first within a patch
    last = pixels.unflatten(2, (3, 4)).transpose(2, 3).flatten(2)  # ours: channels last
    assert torch.equal(generator._images(last), x)


def test_positions_tell_every_place_apart():
    positions = sine_positions(3, 4, 16)
    assert positions.shape == (12, 16)
    assert torch.pdist(positions).min() > 0.1
    with pytest.raises(ConfigError, match="no multiple of 4"):
        sine_positions(2, 2, 10)


def test_flops_are_those_that_torch_counts():
    generator = make().generator
    x, t, y = torch.randn(2, 1, 8, 8), torch.rand(2), torch.tensor([0, 1])
    assert count_flops(lambda: generator(x, t, y)) == 2 * generator.flops(3)
    condition = generator.condition(t, y)
    assert count_flops(
        lambda: generator.run(generator.embed(x), generator.condition(t, y), 0, 2)
    ) == 2 * generator.flops(2, whole=False)
    assert condition.shape == (2, 32)


# ---- losses --------------------------------------------------------------------------------------------------------


def test_the_loss_is_velocity_and_comparison_by_hand():
    data = task()
    system = woken(make(data, class_dropout=0.0, half_life=4.0)).train()
    batch = batch_of(system, data, step=5, stage="full", stage_step=8)
    system.spent.teacher_done()
    output = system.loss(batch)
    x = batch["input"]
    t, noise = drawn_paths("0/5", range(8), x)
    z = (1 - t)[:, None, None, None] * x + t[:, None, None, None] * noise
    velocity, hidden = system.generator(z, t, batch["label"], at=2)
    torch.testing.assert_close(output.terms["velocity"], ((velocity - (noise - x)) ** 2).mean())
    features = system.encoder.features(x)  # a map of 4 × 4, as the generator's grid
    predicted = system.projector(hidden)
    cosine = F.normalize(predicted, dim=-1) * F.normalize(features.tokens, dim=-1)
    torch.testing.assert_close(output.terms["align"], -cosine.sum(-1).mean())
    assert output.weights["align"] == 1.0 * 0.5**2  # two half-lives


def test_noise_is_normal_and_of_the_row():
    x = torch.zeros(500, 1, 8, 8)
    t, noise = drawn_paths("key", range(500), x)
    assert t.min() >= 0
    assert t.max() < 1
    assert scipy.stats.kstest(t.numpy(), "uniform").pvalue > 0.01
    assert scipy.stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    assert torch.equal(drawn_paths("key", [7, 3], x[:2])[1], noise[[7, 3]])


def test_every_image_of_a_batch_counts():
    """The released code's warm-up has the last one only: here changing any changes the loss, and their order does not."""
    data = task()
    system = woken(make(data)).eval()
    batch = batch_of(system, data, stage="warm-up")
    loss = system.loss(batch).total
    for row in (0, 3, 7):
        other = {**batch, "input": batch["input"].clone()}
        other["input"][row] = -other["input"][row]
        assert abs(system.loss(other).total - loss) > 1e-6
    turned = {name: v.flip(0) if isinstance(v, torch.Tensor) else v for name, v in batch.items()}
    torch.testing.assert_close(system.loss(turned).total, loss)


def test_the_warm_up_sees_no_noise_and_its_own_blocks_alone():
    data = task()
    system = woken(make(data, warm_from=1, warm_to=2)).eval()
    batch = batch_of(system, data, stage="warm-up")
    loss = system.loss(batch).total.item()
    with torch.no_grad():
        for part in (system.generator.blocks[0], system.generator.blocks[2], system.generator.out):
            for p in part.parameters():
                p.normal_()
    assert system.loss({**batch, "step": 77}).total.item() == loss
    with torch.no_grad():
        system.generator.blocks[1].mlp.up.weight.normal_()
    assert system.loss(batch).total.item() != loss


def test_targets_of_pixels_are_the_patches():
    data = task()
    system = make(data, teacher="pixels")
    target = system.target(batch_of(system, data))
    assert torch.equal(target[0, 5], batch_of(system, data)["input"][0, 0, 2:4, 2:4].flatten())


def test_a_target_on_another_grid_is_averaged_or_stretched():
    data = task(side=16)
    fine = make(data, patch=8)  # 2 × 2 patches, a map of 8 × 8
    tokens = fine.target(batch_of(fine, data))
    own = fine.encoder.features(batch_of(fine, data)["input"]).tokens.view(8, 2, 4, 2, 4, -1)
    torch.testing.assert_close(tokens.view(8, 2, 2, -1), own.mean((2, 4)))
    coarse = make(data, patch=1, width=8, num_heads=1)  # 16 × 16
    assert coarse.target(batch_of(coarse, data)).shape == (8, 256, coarse.encoder.token_width)


def test_nt_xent_is_at_its_least_where_patches_are_told_apart():
    data = task()
    system = make(data, alignment="nt_xent")
    batch = batch_of(system, data)
    r = system.target(batch)
    system.projector = torch.nn.Identity()
    flat = F.normalize(r.flatten(0, 1), dim=1)
    logits = flat @ flat.T / 0.07
    wanted = F.cross_entropy(logits, torch.arange(len(flat)))
    torch.testing.assert_close(system._alignment(r, batch), wanted, atol=1e-4, rtol=1e-4)


# ---- stages --------------------------------------------------------------------------------------------------------


def stages_of(system, data, folder, names):
    run = SMOKE
    stages = [replace(stage, steps=3) for stage in planned_stages(run) if stage.name in names]
    config = replace(run.train, steps=3 * len(stages), batch_size=8, validate_every=0)
    fit(system, data.train, config, folder, seed=0, stages=stages)


@pytest.mark.parametrize(
    ("recipe", "steps", "expected"),
    [
        ("smoke", 70, {"teacher": 10, "judge": 10, "warm-up": 10, "full": 40}),
        ("small", 7000, {"teacher": 1000, "judge": 1000, "warm-up": 1000, "full": 4000}),
        ("pretrained", 700, {"judge": 100, "warm-up": 120, "full": 480}),
        ("smoke", 4, {"teacher": 1, "judge": 1, "warm-up": 1, "full": 1}),
    ],
)
def test_the_steps_are_shared_out_to_stages(recipe, steps, expected):
    run = api.recipe("erw", recipe)
    made = planned_stages(replace(run, train=replace(run.train, steps=steps)))
    assert {stage.name: stage.steps for stage in made} == expected


def test_too_few_steps_for_the_stages():
    with pytest.raises(ConfigError, match=r"train\.steps=3 is too few for 4 stages"):
        planned_stages(replace(SMOKE, train=replace(SMOKE.train, steps=3)))


def test_the_warm_up_moves_its_blocks_and_the_rest_goes_on_from_them(tmp_path):
    data = task()
    system = make(data)
    stages_of(system, data, tmp_path / "a", ("teacher", "warm-up"))
    fresh, warmed = make(data).generator.state_dict(), system.generator.state_dict()
    moved = {name for name in fresh if not torch.equal(fresh[name], warmed[name])}
    assert moved
    assert all(name.startswith(("blocks.0.", "patch_embedding", "time", "label")) for name in moved)
    assert any(name.startswith("blocks.0.mlp") for name in moved)
    # The next stage begins with these very weights: no copy is made that could be forgotten.
    before = {name: value.clone() for name, value in system.generator.state_dict().items()}
    system.start_stage("full")
    assert all(torch.equal(before[name], value) for name, value in system.generator.state_dict().items())


def test_each_stage_trains_its_own_part(tmp_path):
    data = task()
    system = make(data)
    before = {name: value.clone() for name, value in system.state_dict().items()}
    stages_of(system, data, tmp_path / "a", ("teacher", "judge"))
    moved = {
        name.partition(".")[0]
        for name, value in system.state_dict().items()
        if not torch.equal(before[name], value)
    }
    assert moved == {"encoder", "teacher_head", "judge", "spent"}
    middle = {name: value.clone() for name, value in system.state_dict().items()}
    stages_of(system, data, tmp_path / "b", ("full",))
    moved = {
        name.partition(".")[0]
        for name, value in system.state_dict().items()
        if not torch.equal(middle[name], value)
    }
    assert moved == {"generator", "average", "projector", "spent", "album"}


def test_a_teacher_that_no_stage_trained_is_refused(tmp_path):
    data = task()
    with pytest.raises(ConfigError, match="learns in a stage 'teacher'"):
        stages_of(make(data), data, tmp_path / "a", ("warm-up", "full"))
    with pytest.raises(ConfigError, match="teacher=random is not trained"):
        make(data, teacher="random").loss(batch_of(make(data), data, stage="teacher"))
    with pytest.raises(ConfigError, match="did you mean 'warm-up'"):
        make(data).start_stage("warmup")


def test_the_average_has_its_half_life():
    data = task()
    system = make(data, average=2.0)
    weight = system.generator.out.bias
    system.after_step(0)  # the first is a copy
    with torch.no_grad():
        weight += 1.0
    for step, wanted in enumerate((1 - 0.5**0.5, 0.5, 1 - 0.5**1.5)):
        system.after_step(step)
        torch.testing.assert_close(system.average.module.out.bias, torch.full_like(weight, wanted))


def test_operations_are_counted_for_what_they_were_for():
    data = task()
    system = make(data).train()
    spent, generator = system.spent, system.generator
    system.loss(batch_of(system, data, stage="teacher"))
    assert spent.before[0] == 3 * 2 * 8 * system.encoder.flops()
    spent.teacher_done()
    system.loss(batch_of(system, data, stage="warm-up"))
    matrices = sum(2 * p.numel() for p in system.projector.parameters() if p.ndim > 1)
    assert spent.before[1] == 3 * 8 * (generator.flops(1, whole=False) + 16 * matrices)
    known = spent.before[0]
    assert known == (3 * 2 + 1) * 8 * system.encoder.flops()  # its answers, once an image
    system.loss(batch_of(system, data, stage="full"))
    assert spent.before[0] == known
    assert spent.flops() - sum(spent.before) == 3 * 8 * (generator.flops(3) + 16 * matrices)
    system.eval()
    system.loss(batch_of(system, data, stage="full"))
    assert spent.flops() - sum(spent.before) == 3 * 8 * (generator.flops(3) + 16 * matrices)


def test_samples_of_a_distance_have_the_shares_of_the_classes():
    """Three quarters, none and one quarter of 200; a third each."""
    album = Album((2, 2, 1))
    for shown, wanted in (([30, 0, 10], [150, 0, 50]), ([5, 5, 5], [67, 66, 67])):
        label, noise = album.many(0, torch.tensor(shown))
        assert torch.bincount(label, minlength=3).tolist() == wanted
        assert noise.shape == (200, 1, 2, 2)


def test_moments_of_batches_are_those_of_all_at_once():
    x = torch.randn(40, 5, dtype=torch.float64) * 3 + 1
    spent = Spent(5, 3)
    spent.judge_done()
    label = torch.tensor([0] * 30 + [2] * 10)
    for start in (0, 7, 20):
        rows = slice(start, {0: 7, 7: 20, 20: 40}[start])
        spent.look_at(x[rows], label[rows], lambda part: part)
    assert spent.shown.tolist() == [30, 0, 10]
    np.testing.assert_allclose(spent.mean, x.mean(0))
    np.testing.assert_allclose(spent.scatter / 39, np.cov(x.numpy(), rowvar=False))
    assert spent.distance(x.numpy()) == pytest.approx(0, abs=1e-9)


# ---- what a user does ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    examples = images(60, side=12, channels=3)
    for place, (pixels, label) in enumerate(zip(examples.columns["input"], examples.columns["label"])):
        name = ("left side", "right")[label]
        (folder / name).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    run = override(
        SMOKE,
        [
            f"data.source={photos}",
            "data.image_size=12",
            "data.test_share=0.3",
            "train.batch_size=16",
            "model.average=10",
        ],
    )
    folder = tmp_path_factory.mktemp("run") / "gen"
    return folder, brickwork.train(run, folder)


def test_a_folder_of_images_from_training_to_pictures(trained, tmp_path):
    folder, summary = trained
    assert summary.scores["velocity"] < 0.8  # a constant answer has more than 1
    assert summary.scores["accuracy"] > 0.8  # samples are of the class that was asked for
    report = (folder / "report.html").read_text()
    assert "What it draws, while it learns" in report
    assert "Distance from images against computation" in report
    assert "data:image/png;base64" in report
    out = tmp_path / "pictures"
    answer = CliRunner().invoke(
        app,
        [
            "generate",
            str(folder),
            "right",
            "left side",
            "--count",
            "3",
            "--out",
            str(out),
            "--set",
            "steps=12",
        ],
    )
    assert answer.exit_code == 0, answer.output
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert files == [
        *("grid.png",),
        *(f"left side/000{n}.png" for n in (1, 2, 3)),
        *(f"right/000{n}.png" for n in (1, 2, 3)),
    ]
    right, left = (np.asarray(Image.open(out / name / "0001.png")) for name in ("right", "left side"))
    assert right[2:6, 8:].mean() > right[2:6, :4].mean()
    assert left[2:6, 1:4].mean() > left[2:6, 8:].mean()


def test_the_same_seed_gives_the_same_pictures_in_any_company(trained):
    system = brickwork.load(trained[0])
    both = system.generate_images(["left side"], count=2, seed=4, steps=4)
    assert both.shape == (2, 12, 12, 3)
    assert both.dtype == np.uint8
    np.testing.assert_array_equal(both, system.generate_images(["left side"], count=2, seed=4, steps=4))
    alone = system.generate_images(["left side"], count=1, seed=4, steps=4)
    assert np.abs(alone[0].astype(int) - both[0]).max() <= 1
    assert (
        np.abs(both.astype(int) - system.generate_images(["left side"], count=2, seed=5, steps=4)).max() > 5
    )
    stronger = system.generate_images(["left side"], count=2, seed=4, steps=4, guidance=3.0)
    assert not np.array_equal(both, stronger)


def test_json_for_scripts(trained, tmp_path):
    out = tmp_path / "p"
    command = [
        "generate",
        str(trained[0]),
        "right",
        "--count",
        "2",
        "--out",
        str(out),
        "--set",
        "steps=2",
        "--json",
    ]
    answer = json.loads(CliRunner().invoke(app, command).stdout)
    assert answer == {"folder": str(out), "images": [str(out / "right" / f"000{n}.png") for n in (1, 2)]}


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["middle", "--out", "NEW"], "no class 'middle'"),
        (["right"], "name a new folder for them with --out"),
        (["right", "--out", "FULL"], "is not empty"),
        (["right", "--out", "NEW", "--temperature", "0.5"], "--temperature has no effect"),
        (["right", "--out", "NEW", "--set", "guidence=2"], "did you mean 'guidance'"),
        (["right", "--out", "NEW", "--set", "steps=0"], "must be at least 1"),
        (["right", "--out", "NEW", "--set", "steps=1.5"], "'steps' is 1.5; expected int"),
        (["right", "--out", "NEW", "--set", "guidance=nan"], "is 'nan'; expected float"),
        (["right", "--out", "NEW", "--set", "guidance=1e30"], "grow beyond all numbers"),
        (["right", "--out", "NEW", "--set", "sampler=hoin"], "choose one of 'euler', 'heun', 'sde'"),
        (["right", "--out", "NEW", "--set", "seed=5"], "use --seed"),
        (["right", "--out", "NEW", "--seed", "-1"], "it must be from 0 to"),
        (["right", "--out", "NEW", "--count", "99999999"], "ask for 1,242,756 at most"),  # 2²⁹ numbers
        (["right", "--out", "NEW", "--set", "steps=1000000"], "at most 10,000"),
    ],
)
def test_requests_that_cannot_be_met(trained, tmp_path, arguments, wrong):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    places = {"NEW": str(tmp_path / "new"), "FULL": str(tmp_path / "full")}
    answer = CliRunner().invoke(app, ["generate", str(trained[0]), *(places.get(a, a) for a in arguments)])
    assert answer.exit_code != 0
    assert wrong in " ".join((answer.output + str(answer.exception or "")).split())
    assert not (tmp_path / "new").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_other_images_are_counted_in_the_classes_that_were_learnt(trained, photos, tmp_path):
    """The second and third of three classes are 0 and 1 in a folder of their own."""
    system = make(replace(task(), num_classes=3, class_names=("a", "b", "c")))
    for name, brightness in (("b", 40), ("c", 200)):
        (tmp_path / "two" / name).mkdir(parents=True)
        for place in range(10):
            Image.new("L", (20, 20), brightness + place).save(tmp_path / "two" / name / f"{place}.png")
    read = system.load_data(ImageDataConfig(source=str(tmp_path / "two")), 0)
    pixels, labels = (np.asarray(read.train.columns[name]) for name in ("input", "label"))
    assert pixels.shape[1:] == (8, 8, 1)
    np.testing.assert_array_equal(labels, np.where(pixels.mean((1, 2, 3)) > 100, 2, 1))
    folder, _ = trained
    shutil.copytree(photos, tmp_path / "own")
    assert set(brickwork.evaluate(folder, tmp_path / "own")["scores"]) >= {"velocity", "accuracy"}
    (tmp_path / "own" / "right").rename(tmp_path / "own" / "zebra")
    for use in (brickwork.evaluate, brickwork.inspect):
        with pytest.raises(DataError, match="the class 'zebra', which the model has not learnt"):
            use(folder, tmp_path / "own")
    (tmp_path / "own" / "zebra").rename(tmp_path / "own" / "right")
    for path in (tmp_path / "own").glob("*/*.png"):
        Image.open(path).convert("L").save(path)
    with pytest.raises(DataError, match=r"images of shape \(12, 12, 1\).*\(12, 12, 3\)"):
        brickwork.evaluate(folder, tmp_path / "own")


@pytest.mark.parametrize(("updates", "rows"), [(4, ["1", "2", "4"]), (6, ["1", "2", "4", "6"])])
def test_the_album_ends_with_the_end_of_the_training(updates, rows):
    album = Album((2, 2, 1))
    for _ in range(updates):
        if album.due():
            album.keep(np.zeros((PICTURES, 2, 2, 1), np.uint8), 1.0, float("inf"))
    page = album_drawing(album, ["a", "b"], np.ones((PICTURES, 2, 2, 1), np.uint8)).svg
    assert re.findall(r">([\d,]+)</text>", page) == rows


def test_the_judge_is_judged(trained):
    """Beside what it says of samples stands how often it is right about images, by its own head on each image alone."""
    folder, summary = trained
    system = summary.system
    held = load_task(api.read_run(folder).data, api.read_run(folder).seed).test
    x = torch.stack(
        [(torch.from_numpy(i).float() / 127.5 - 1).permute(2, 0, 1) for i in held.columns["input"]]
    )
    with torch.no_grad():
        guessed = [int(system.judge(one[None]).argmax()) for one in x]
    right = np.mean(np.array(guessed) == np.asarray(held.columns["label"]))
    assert summary.scores["accuracy_images"] == pytest.approx(right)
    assert f"right about {100 * right:.0f} % of held-out images" in (folder / "report.html").read_text()


def test_no_distance_from_fewer_images_than_dimensions():
    """The covariance of n vectors has a rank of n − 1 at most."""
    system = make()
    system.spent.judge_done()
    dim = system.judge.head.in_features
    few, enough = (set(system.eval().evaluate(images(count))) for count in (dim, dim + 1))
    assert enough - few == {"frechet"}
    assert few == {"velocity", "accuracy", "accuracy_images"}


def test_a_pretrained_encoder_is_the_target_and_stays_as_it_was(photos, tmp_path):
    checkpoint = tmp_path / "vit"
    image_checkpoint("vit", checkpoint)
    run = api.recipe("erw", "pretrained")
    stages = tuple(replace(stage, steps=3) for stage in planned_stages(run))
    run = override(
        replace(run, stages=stages, train=replace(run.train, steps=9, batch_size=8)),
        [
            f"model.encoder.backbone={checkpoint}", f"data.source={photos}", "data.image_size=12", "model.width=32",
            "model.depth=3", "model.align_at=2", "model.warm_to=1", "model.judge.width=4",
        ],
    )  # fmt: skip
    system, data = api.build(run)
    before = {name: value.clone() for name, value in system.encoder.state_dict().items()}
    assert data.train.columns["input"].shape[1:] == (12, 12, 3)
    summary = brickwork.train(run, tmp_path / "run", prepared=(system, data))
    assert all(
        torch.equal(before[name], value) for name, value in summary.system.encoder.state_dict().items()
    )
    features = system.encoder.features(system.encoder.prepare(data.train.columns["input"][:2]))
    batch = system.collate(data.train.take([0, 1]))
    wanted = features.tokens.transpose(1, 2).unflatten(2, features.grid)
    small = F.interpolate(wanted, size=(3, 3), mode="bilinear")
    if features.grid[0] >= 3:
        small = F.adaptive_avg_pool2d(wanted, (3, 3))
    torch.testing.assert_close(
        system.target({**batch, "step": 0}), small.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-4
    )


def test_texts_are_refused(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "".join(f"word {n},{'ab'[n % 2]}\n" for n in range(40)))
    with pytest.raises(DataError, match="bring a folder of images"):
        api.build(override(SMOKE, [f"data.source={table}"]))


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        ({"warm_from": 2, "warm_to": 2}, "from a block to a later one"),
        ({"warm_to": 9}, "at most depth=3"),
        ({"align_at": 4}, "more than depth=3"),
        ({"align": 0.0, "half_life": 3.0}, "half_life has no effect with align=0"),
        ({"teacher": "pretrained"}, "name a pretrained one with --backbone"),
        ({"teacher": "random", "views": {"flip": 0.5}}, "views has no effect with teacher=random"),
        ({"num_heads": 3}, "not a multiple of num_heads=3"),
    ],
)
def test_options_that_do_not_fit(model, wrong):
    with pytest.raises(ConfigError, match=wrong):
        from_dict(Config, {**to_dict(SMOKE.model), **model})


def test_patches_that_do_not_fill_the_image():
    with pytest.raises(ConfigError, match=r"model\.patch=3 does not divide images of 8 × 8"):
        make(patch=3)


def test_an_encoder_without_patches_is_refused():
    encoder = to_dict(ImageEncoderConfig(architecture="mlp", width=8, depth=1, embedding_dim=8))
    with pytest.raises(ConfigError, match="has no patches"):
        make(encoder=encoder)
