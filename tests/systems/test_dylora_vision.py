"""DyLoRA on pretrained models of images and on both towers of dual encoders: every rank is peft's LoRA of that rank."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import brickwork
from brickwork.api import export as export_api
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.api.backbones import backbone_settings
from brickwork.core.config import override
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.files import load_tensors
from brickwork.representation.contract import build_system
from brickwork.systems.dylora.system import load_data
from vision_checkpoints import dual_checkpoint, image_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Models, a folder of red and blue images, and a table of texts with labels."""
    place = tmp_path_factory.mktemp("place")
    for kind in ("vit", "resnet"):
        image_checkpoint(kind, place / kind)
    dual_checkpoint("clip", place / "clip")
    rng = np.random.default_rng(0)
    for label, channel in (("red", 0), ("blue", 2)):
        (place / "photos" / label).mkdir(parents=True)
        for number in range(20):
            image = rng.integers(0, 60, (40, 50, 3), dtype=np.uint8)
            image[..., channel] += 150
            Image.fromarray(image).save(place / "photos" / label / f"{number}.png")
    with (place / "table.csv").open("w", newline="") as file:
        rows = [
            (f"a {('red', 'blue')[n % 2]} {('box', 'ring')[n // 2 % 2]} {'abcdefghij'[n % 10]}", n % 2)
            for n in range(40)
        ]
        csv.writer(file).writerows([("text", "label"), *((text, ("red", "blue")[n]) for text, n in rows)])
    return place


def run_of(place, backbone, data="photos", recipe="images", **model):
    run = api.recipe("dylora", recipe)
    places = backbone_settings(run, [str(place / backbone)])
    short = ["train.steps=12", "train.batch_size=8", "train.validate_every=0", "train.learning_rate=0.01"]
    chosen = [f"model.{name}={value}" for name, value in {"rank": 4, **model}.items()]
    return override(run, [f"data.source={place / data}", *places, *short, *chosen])


@pytest.fixture(scope="module")
def trained(place, tmp_path_factory):
    """A run on each kind of model."""
    folders = {}
    for name, data, model in (
        ("vit", "photos", {}),
        ("resnet", "photos", {"targets": "convolution"}),
        ("clip", "photos", {}),
        ("clip", "table.csv", {}),
    ):
        folder = tmp_path_factory.mktemp("runs") / "run"
        api.train(run_of(place, name, data, **model), folder, measure=False)
        folders[name, data] = folder
    return folders


def vectors(model, name, data, system, inputs):
    """What the published model gives with peft's adapter on it, as ``pooling`` of head.json says."""
    batch = system.encoder.collate({"input": inputs})["input"]
    if data == "table.csv":
        ids, mask = batch.padded(pad_id=system.encoder.pad_id)
        output = model.base_model.model.get_text_features(input_ids=ids, attention_mask=mask)
    elif name == "clip":
        output = model.base_model.model.get_image_features(pixel_values=batch)
    else:
        output = model(pixel_values=batch)
        return output.last_hidden_state[:, 0] if name == "vit" else output.pooler_output.flatten(1)
    return output if isinstance(output, torch.Tensor) else output.pooler_output


@pytest.mark.parametrize(
    ("name", "data"), [("vit", "photos"), ("resnet", "photos"), ("clip", "photos"), ("clip", "table.csv")]
)
def test_peft_gives_the_same_answers_at_every_rank(place, trained, name, data, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModel

    system = brickwork.load(trained[name, data])
    assert (system.input_kind, system.classes) == (
        "texts" if data == "table.csv" else "images",
        ("blue", "red"),
    )
    inputs = load_data(run_framed(place, name, data).data, 0).train.columns["input"][:6]
    answers = {b: system.probabilities(inputs, rank=b) for b in (1, 4)}
    assert abs(answers[1] - answers[4]).max() > 1e-4
    for b in (1, 4):
        folder = export_api.export_adapter(trained[name, data], tmp_path / f"rank{b}", rank=b)
        model = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(place / name), folder).eval()
        head = load_tensors(folder / "head.safetensors")
        with torch.no_grad():
            logits = vectors(model, name, data, system, inputs) @ head["weight"].T + head["bias"]
        np.testing.assert_allclose(logits.softmax(-1).numpy(), answers[b], atol=1e-5)
    about = json.loads((folder / "head.json").read_text())
    features = "get_text_features" if data == "table.csv" else "get_image_features"
    assert about["pooling"] == {"vit": "cls", "resnet": "pooler_output"}.get(name, features)
    config = json.loads((folder / "adapter_config.json").read_text())
    tower = {"photos": "vision_model.", "table.csv": "text_model."}[data] if name == "clip" else ""
    assert all(target.startswith(tower) for target in config["target_modules"])


def run_framed(place, name, data):
    return api.with_sizes(run_of(place, name, data))


def test_images_are_framed_and_predicted_from_a_folder(place, trained):
    """The images of the table are scaled and cut as the model wants them, in training and for new ones."""
    run = api.read_run(trained["vit", "photos"])
    assert run.data.framing is not None
    answers = predict_api.predict(trained["vit", "photos"], place / "photos" / "red")
    images = load_data(replace(run.data, validation_share=0.0, test_share=0.0), 0).train.columns
    system = brickwork.load(trained["vit", "photos"])
    expected = system.probabilities(images["input"][images["label"] == 1]).max(1)
    assert answers["id"][:2] == ["0.png", "1.png"]
    np.testing.assert_allclose(sorted(answers["probability"]), sorted(expected), atol=1e-5)


def test_one_rank_alone_is_ordinary_lora(place):
    """With sampler=full: the loss and its gradients are those of peft's LoRA with the same factors, on the same ViT."""
    peft = pytest.importorskip("peft")
    from transformers import AutoModel

    run = api.with_sizes(run_of(place, "vit", sampler="full", rank=2))
    data = load_data(run.data, 0)
    system = build_system("dylora", run.model, data, 0).eval()
    for row in system.adapters.segments.rows:
        torch.nn.init.normal_(row, std=0.2)
    batch = {**system.collate(data.train.take(list(range(8)))), "step": 0}
    system.loss(batch).total.backward()
    base = AutoModel.from_pretrained(place / "vit", add_pooling_layer=False)
    config = peft.LoraConfig(r=2, lora_alpha=16.0, target_modules=sorted(system.adapters.layers))
    theirs = peft.get_peft_model(base, config).eval()
    factors = system.adapters.factors(2)
    layers = {n.removeprefix("base_model.model."): m for n, m in theirs.named_modules()}
    with torch.no_grad():
        for name, (down, up) in factors.items():
            layers[name].lora_A["default"].weight.copy_(down)
            layers[name].lora_B["default"].weight.copy_(up)
    logits = system.head(theirs(pixel_values=batch["input"]).last_hidden_state[:, 0])
    loss = torch.nn.functional.cross_entropy(logits, batch["label"])
    torch.testing.assert_close(loss, system.loss(batch).total)
    loss.backward()
    ours = torch.cat([row.grad.flatten() for row in system.adapters.segments.rows])
    given = [layers[name].lora_A["default"].weight.grad for name in factors]
    given += [layers[name].lora_B["default"].weight.grad for name in factors]
    torch.testing.assert_close(ours.square().sum(), sum(g.square().sum() for g in given))


def test_what_does_not_fit(place):
    with pytest.raises(DataError, match=r"holds texts and the backbone .*vit' reads images"):
        build(place, "vit", "table.csv")
    with pytest.raises(
        ConfigError, match=r"max_tokens has no effect with backbone .*vit', which reads images"
    ):
        build(place, "vit", "photos", max_tokens=8)
    with pytest.raises(ConfigError, match="max_tokens=40 is more than the 12"):
        build(place, "clip", "table.csv", max_tokens=40)


def build(place, name, data, **model):
    run = run_framed(place, name, data)
    return build_system("dylora", replace(run.model, **model), load_data(run.data, 0), 0)
