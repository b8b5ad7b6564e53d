"""ALIGN from pretrained encoders: CLIP and SigLIP trained on, and any tower of images with any of texts, locked or not."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

import brickwork
from brickwork.api import train as api
from brickwork.api.backbones import backbone_settings
from brickwork.core.config import ConfigError, from_dict, override, to_dict
from brickwork.representation.contract import build_system
from brickwork.representation.kept import save_system
from brickwork.systems.align.system import Config, load_data
from vision_checkpoints import dual_checkpoint, image_checkpoint, pictures


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    for kind in ("clip", "siglip"):
        dual_checkpoint(kind, place / kind)
    image_checkpoint("resnet", place / "resnet")
    (place / "photos").mkdir()
    for number, image in enumerate(pictures(16)):
        Image.fromarray(image).save(place / "photos" / f"{number}.png")
        (place / "photos" / f"{number}.txt").write_text(f"a photo of {'abcdefghijklmnop'[number]} ring")
    return place


def run_of(models, recipe, *backbones, settings=()):
    run = api.recipe("align", recipe)
    places = backbone_settings(run, [str(models / name) for name in backbones])
    short = [
        "train.steps=3",
        "train.batch_size=4",
        "train.precision=fp32",
        f"data.source={models / 'photos'}",
    ]
    return api.with_sizes(override(run, [*places, *short, *settings]))


def built(run):
    return build_system("align", run.model, load_data(run.data, 0), seed=0)


def a_step(system, run):
    """The system after one step of a plain optimiser."""
    task = load_data(run.data, 0)
    batch = {**system.collate(task.train.take([0, 1, 2, 3])), "step": 0}
    loss = system.loss(batch).total
    loss.backward()
    torch.optim.SGD([p for p in system.parameters() if p.grad is not None], lr=0.1).step()
    return loss


def changed(before, after):
    """Names of the top parts whose weights are others than before."""
    there = after.state_dict()
    return {name for name, value in before.state_dict().items() if not torch.equal(value, there[name])}


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_untrained_it_is_the_pretrained_model(kind, models):
    run = run_of(models, kind, kind)
    assert run.data.framing is not None
    assert run.data.framing.shape == (32, 32, 3)
    system, plain = built(run), brickwork.load(models / kind)
    texts = ["a photo of a ring", "box"]
    assert np.array_equal(system.representation().encode(texts), plain.encode(texts))
    assert system.temperature().item() == pytest.approx(1 / plain.encoder.scale)
    if kind == "siglip":
        assert system.bias.item() == pytest.approx(plain.encoder.bias)


def test_the_loss_of_siglip_is_its_own(models):
    """Without smoothing and groups, from its own scale and bias: −log σ(±logits), as its paper has it."""
    run = run_of(models, "siglip", "siglip")
    system = built(run).eval()
    batch = system.collate(load_data(run.data, 0).train.take([0, 1, 2, 3]))
    with torch.no_grad():
        x, y = (torch.nn.functional.normalize(v, dim=1) for v in system.embed(batch).values())
        logits = x @ y.T * system.encoder.scale + system.encoder.bias
        wanted = -torch.nn.functional.logsigmoid(logits * (2 * torch.eye(4) - 1)).sum() / 4
        torch.testing.assert_close(system.loss(batch).total, wanted, rtol=1e-5, atol=1e-5)


def test_training_moves_both_sides_and_the_scale_is_kept(models, tmp_path):
    run = run_of(models, "clip", "clip")
    system = built(run).train()
    before = copy.deepcopy(system)
    a_step(system, run)
    moved = changed(before, system)
    for part in (
        "encoder.image.model",
        "encoder.image.projection",
        "encoder.body",
        "encoder.projection",
        "temperature",
    ):
        assert any(name.startswith(part) for name in moved), part
    save_system(system, tmp_path / "run")
    kept = brickwork.load(tmp_path / "run")
    assert kept.encoder.scale == pytest.approx(1 / system.temperature().item())
    images = np.stack([pictures(1)[0]])
    ours = system.eval().representation().encode(images, precision="fp32")
    np.testing.assert_allclose(kept.encode(images, precision="fp32"), ours, atol=1e-6)


@pytest.mark.parametrize("side", ["image", "text"])
def test_what_is_locked_stays(side, models):
    run = run_of(models, "clip", "clip", settings=[f"model.locked={side}"])
    system = built(run).train()
    before = copy.deepcopy(system)
    a_step(system, run)
    image = {name for name in changed(before, system) if name.startswith("encoder.image.")}
    text = {name for name in changed(before, system) if name.startswith("encoder.")} - image
    assert bool(image) == (side == "text")
    assert bool(text) == (side == "image")
    locked = system.encoder.image.model if side == "image" else system.encoder.body
    assert not [m for m in locked.modules() if m.training]


def test_any_tower_of_images_meets_any_of_texts(models):
    run = run_of(
        models, "locked", "resnet", settings=["model.text.backbone=static", "model.text.max_tokens=8"]
    )
    system = built(run).train()
    assert system.encoder.embedding_dim == 16  # that of the images
    before = copy.deepcopy(system)
    a_step(system, run)
    assert all(not name.startswith("encoder.image") for name in changed(before, system))
    wide = built(override(run, ["model.image.embedding_dim=6"])).train()
    before = copy.deepcopy(wide)
    a_step(wide, run)
    moved = {name for name in changed(before, wide) if name.startswith("encoder.image")}
    assert moved == {"encoder.image.projection.weight"}, "a fresh matrix is not locked"


def test_a_whole_run(models, tmp_path):
    summary = api.train(run_of(models, "siglip", "siglip"), tmp_path / "run")
    assert summary.result.step == 3
    again = api.build(api.read_run(tmp_path / "run"))[0]
    assert again.encoder.image.image_shape == (32, 32, 3)


def test_options_that_do_not_go_together():
    plain = to_dict(Config())
    with pytest.raises(ConfigError, match="image has no effect with backbone"):
        from_dict(Config, {**plain, "backbone": "models/clip", "image": {**plain["image"], "width": 8}})
    with pytest.raises(ConfigError, match="locked=image keeps weights that were never trained"):
        from_dict(Config, {**plain, "locked": "image"})
    with pytest.raises(ConfigError, match="revision has no effect with no backbone"):
        from_dict(Config, {**plain, "revision": "main"})


def test_backbones_find_their_places(models):
    run = api.recipe("align", "locked")
    settings = backbone_settings(run, ["minilm", str(models / "clip")])
    assert settings == ["model.text.backbone=minilm", f"model.image.backbone={models / 'clip'}"]
    with pytest.raises(ConfigError, match="are both for model"):
        backbone_settings(run, [str(models / "clip"), str(models / "resnet")])
    with pytest.raises(
        ConfigError, match=r"a model of images, and this recipe of align .* take --recipe locked"
    ):
        backbone_settings(api.recipe("align", "clip"), [str(models / "resnet")])
    with pytest.raises(ConfigError, match=r"of images and texts, .*; take --recipe clip or siglip or locked"):
        backbone_settings(api.recipe("align"), [str(models / "clip")])
    with pytest.raises(ConfigError, match="says nothing here; leave it out; take --recipe small or"):
        backbone_settings(api.recipe("matryoshka", "images"), [str(models / "resnet")])
