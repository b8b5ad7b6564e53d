"""Full, LoRA or frozen by one option: equal to peft on the same weights, and a plain model once it is saved."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import brickwork
from brickwork.core.errors import ConfigError
from brickwork.encoders.build_images import load_image_folder
from brickwork.encoders.config import PretrainedImageConfig, TextEncoderConfig
from brickwork.representation.adapting import Adaptation, adapt, finish_adapting
from brickwork.representation.contract import build_system
from brickwork.representation.export_peft import export_peft
from brickwork.representation.load import load_system
from brickwork.training.checkpoint import checkpoint_path
from interop import pretrained_text as shapes
from vision_checkpoints import dual_checkpoint, image_checkpoint, pictures


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    place = tmp_path_factory.mktemp("models")
    shapes.write(shapes.Shape("bert", {**shapes.ENCODER, "type_vocab_size": 2}), place / "bert")
    shapes.write(shapes.NAMED["qwen3-embedding"], place / "qwen3")
    image_checkpoint("vit", place / "vit")
    dual_checkpoint("clip", place / "clip")
    rows = [{"question": f"what is {n} of {n + 1}", "answer": f"{n} is a number"} for n in range(60)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for label in ("a", "b"):
        (place / "classes" / label).mkdir(parents=True)
        (place / "photos").mkdir(exist_ok=True)
        for number, image in enumerate(pictures(12)):
            Image.fromarray(image).rotate(90 * (label == "b")).save(
                place / "classes" / label / f"{number}.png"
            )
            Image.fromarray(image).save(place / "photos" / f"{number}.png")
            (place / "photos" / f"{number}.txt").write_text(f"a photo of {'abcdefghijkl'[number]} ring")
    return place


@pytest.fixture(autouse=True)
def short_maps(monkeypatch):
    """Maps of exits are there, and little learnt."""
    monkeypatch.setattr("brickwork.systems.matryoshka_2d.mapped.STEPS", 3)


# System, recipe, data, the option of the pretrained model, the part of the system that holds its weights.
CASES = {
    "matryoshka-2d": ("small", "pairs.jsonl", "bert", "encoder.", "encoder.body."),
    "matryoshka": ("small", "pairs.jsonl", "qwen3", "encoder.", "encoder.body."),
    "stationary-compat": ("vision", "classes", "vit", "encoder.", "encoder.model."),
    "align": ("clip", "photos", "clip", "", "encoder."),
}


def a_run(models, slug, *settings):
    recipe, data, backbone, where, _ = CASES[slug]
    short = ["train.steps=3", "train.batch_size=4", "train.validate_every=0", "train.learning_rate=0.01"]
    sizes = ["model.dims=[8,16]"] if slug.startswith("matryoshka") else []
    sizes += ["model.encoder.max_tokens=40"] if sizes else []
    sizes += ["data.validation_share=0.2"] if slug != "align" else []
    return brickwork.override(
        brickwork.recipe(slug, recipe),
        [
            f"data.source={models / data}",
            f"model.{where}backbone={models / backbone}",
            *short,
            *sizes,
            *(f"model.{where}{one}" for one in settings),
        ],
    )


@pytest.mark.parametrize("slug", CASES)
def test_adapters_alone_learn_and_the_kept_model_is_plain(slug, models, tmp_path):
    run = a_run(models, slug, "adapt=lora", "lora_rank=2")
    system, data = brickwork.api.train.build(run)
    there = CASES[slug][4]
    learning = {n for n, p in system.named_parameters() if p.requires_grad and n.startswith(there)}
    assert learning, slug
    assert all("segments" in name for name in learning), "nothing of the published weights"
    start = copy.deepcopy(system)
    summary = brickwork.train(run, tmp_path / "run", prepared=(system, data), measure=False)
    plain = build_system(slug, a_run(models, slug).model, data, run.seed)
    assert summary.system.state_dict().keys() == plain.state_dict().keys(), "merged: no adapter is left"
    moved = [
        name
        for name, value in summary.system.state_dict().items()
        if name.startswith(there) and not torch.equal(value, plain.state_dict()[name])
    ]
    assert moved, "what the adapters learnt is in the weights"
    kept = load_system(tmp_path / "run")
    assert kept.state_dict().keys() == plain.state_dict().keys()
    inputs = np.stack([pictures(1)[0]] * 3) if data.modality == "image" else ["a text", "another"]
    ours = summary.representation.encode(inputs, precision="fp32")
    np.testing.assert_allclose(
        brickwork.load(tmp_path / "run").encode(inputs, precision="fp32"), ours, atol=1e-6
    )
    untouched = start.representation().encode(inputs, precision="fp32")
    assert not np.allclose(ours, untouched, atol=1e-6)


def test_a_stopped_run_goes_on_to_the_same_bits(models, tmp_path):
    run = a_run(models, "matryoshka-2d", "adapt=lora", "lora_rank=2")
    run = brickwork.override(run, ["train.save_every=1", "train.keep=5"])
    whole = brickwork.train(run, tmp_path / "whole", measure=False)
    brickwork.train(run, tmp_path / "part", measure=False)
    shutil.rmtree(checkpoint_path(tmp_path / "part", 3))
    resumed = brickwork.resume(tmp_path / "part")
    assert resumed.representation.fingerprint == whole.representation.fingerprint


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_merging_changes_nothing_and_is_what_peft_does(models, tmp_path):
    """Random adapters on a ViT: beside the weights, merged, in peft, and merged by peft."""
    from peft import PeftModel

    encoder = load_image_folder(models / "vit").eval()
    published = copy.deepcopy(encoder.model)
    adapt(Adaptation(encoder, "lora", 3, fresh_end=False))
    segments = encoder.adapters.segments
    for rows in segments.rows:
        torch.nn.init.normal_(rows, std=0.2, generator=torch.Generator().manual_seed(0))
    images = encoder.prepare(np.stack([pictures(1)[0]] * 4))
    last = encoder.num_layers
    with torch.no_grad():
        beside = encoder(images, [last])[last]
        export_peft(encoder.adapters, tmp_path / "peft")
        theirs = PeftModel.from_pretrained(published, str(tmp_path / "peft")).eval()
        hidden = theirs(pixel_values=images).last_hidden_state[:, 0]

        class Holder(torch.nn.Module):
            pass

        holder = Holder()
        holder.encoder = encoder
        finish_adapting(holder)
        merged = encoder(images, [last])[last]
        by_peft = theirs.merge_and_unload().state_dict()
    torch.testing.assert_close(beside, hidden, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged, beside, atol=1e-5, rtol=1e-5)
    for name, value in encoder.model.state_dict().items():
        torch.testing.assert_close(value, by_peft[name], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("slug", ["matryoshka", "stationary-compat"])
def test_frozen_is_frozen(slug, models):
    run = a_run(
        models, slug, "adapt=frozen", "embedding_dim=127" if slug != "matryoshka" else "projection=16"
    )
    system, _ = brickwork.api.train.build(run)
    there = CASES[slug][4]
    system.train()
    assert not [n for n, p in system.named_parameters() if p.requires_grad and n.startswith(there)]
    assert system.encoder.projection.weight.requires_grad
    body = system.get_submodule(there.rstrip("."))
    assert not [m for m in body.modules() if m.training], "no dropout"


def test_refused_where_it_means_nothing(models):
    assert TextEncoderConfig(backbone="scratch", adapt="frozen").validate()
    assert TextEncoderConfig(lora_rank=4).validate()
    assert PretrainedImageConfig(backbone="x", adapt="lora", lora_rank=0).validate()
    with pytest.raises(ConfigError, match="say it with locked=text"):
        brickwork.override(brickwork.recipe("align", "locked"), ["model.text.adapt=frozen"])
    with pytest.raises(ConfigError, match="never trained"):
        brickwork.override(brickwork.recipe("align", "small"), ["model.adapt=lora"])
    with pytest.raises(ConfigError, match="rank=99 is larger"):
        brickwork.api.train.build(a_run(models, "matryoshka-2d", "adapt=lora", "lora_rank=99"))
