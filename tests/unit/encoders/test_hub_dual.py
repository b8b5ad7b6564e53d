"""CLIP and SigLIP against transformers' own output, on tiny random checkpoints; kept, loaded and used."""

import json

import numpy as np
import pytest
import torch

from brickwork.core.errors import ArtifactError
from brickwork.encoders.build_images import backbone_kind, load_image_folder, load_image_text_folder
from brickwork.encoders.image_text import ImageTextEncoder
from vision_checkpoints import dual_checkpoint, edit, pictures

KINDS = ("clip", "siglip")
TEXTS = ["a photo of a red circle", "blue ring", "a small box of the large image", "large " * 30]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """kind -> (folder, transformers' model, its image processor, its tokenizer, our encoder)."""
    parts = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        parts[kind] = folder, *dual_checkpoint(kind, folder), load_image_text_folder(folder).eval()
    return parts


@pytest.fixture(scope="module")
def outputs(made):
    """kind -> what transformers makes of the images and TEXTS."""
    results = {}
    for kind, (_, model, processor, tokenizer, _) in made.items():
        padding = "max_length" if kind == "siglip" else True
        texts = tokenizer(TEXTS, padding=padding, truncation=True, max_length=12, return_tensors="pt")
        pixels = processor(pictures(), return_tensors="pt")["pixel_values"]
        arguments = {"input_ids": texts["input_ids"]}
        if kind == "clip":
            arguments["attention_mask"] = texts["attention_mask"]
        with torch.no_grad():
            results[kind] = model(pixel_values=pixels, **arguments)
    return results


def unit(vectors):
    return vectors / vectors.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("kind", KINDS)
def test_both_towers_are_those_of_transformers(kind, made, outputs):
    encoder = made[kind][-1]
    with torch.no_grad():
        x = torch.cat([encoder.image.prepare(image[None]) for image in pictures()])
        images = encoder.image(x)[encoder.image.num_layers]
        texts = encoder(encoder.tokenize(TEXTS), [encoder.num_layers])[encoder.num_layers]
    torch.testing.assert_close(unit(images), outputs[kind].image_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(unit(texts), outputs[kind].text_embeds, atol=1e-5, rtol=1e-5)
    cosines = (unit(images) @ unit(texts).T).numpy()
    wanted = outputs[kind].logits_per_image
    np.testing.assert_allclose(encoder.logits(cosines), wanted, atol=1e-5, rtol=1e-5)
    shares = wanted.sigmoid() if kind == "siglip" else wanted.softmax(1)
    np.testing.assert_allclose(encoder.probabilities(cosines), shares, atol=1e-5)
    alone = load_image_folder(made[kind][0]).eval()
    with torch.no_grad():
        assert torch.equal(alone(x)[alone.num_layers], images)
    assert backbone_kind(made[kind][0]) == "image-text"


@pytest.mark.parametrize("kind", KINDS)
def test_padded_texts_and_early_exits(kind, made):
    _, model, _, _, encoder = made[kind]
    tokens = encoder.tokenize(TEXTS)
    ids, mask = tokens.padded(encoder.pad_id)
    with torch.no_grad():
        exits = encoder(tokens, [0, 1, 3])
        for layer, vectors in exits.items():
            padded = encoder.forward_padded(ids, mask, layer)
            torch.testing.assert_close(padded, vectors, atol=1e-5, rtol=1e-5)
        config = type(model.config.text_config)(
            **{**model.config.text_config.to_dict(), "num_hidden_layers": 1}
        )
        shallow = type(model.text_model)(config).eval()
        shallow.load_state_dict(model.text_model.state_dict(), strict=False)
        pooled = shallow(input_ids=ids).pooler_output
        wanted = model.text_projection(pooled) if kind == "clip" else pooled
    torch.testing.assert_close(exits[1], wanted, atol=1e-5, rtol=1e-5)
    assert encoder.flops([5, 6], 3) > encoder.flops([5, 6], 1) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_rebuilt_from_its_description(kind, made):
    encoder = made[kind][-1]
    description = json.loads(json.dumps(encoder.architecture()))
    rebuilt = ImageTextEncoder.from_architecture(description, encoder.tokenizer.to_str()).eval()
    rebuilt.load_state_dict(encoder.state_dict())
    assert rebuilt.architecture() == encoder.architecture()
    assert (rebuilt.scale, rebuilt.bias) == (encoder.scale, encoder.bias)
    tokens = rebuilt.tokenize(TEXTS)
    assert torch.equal(tokens.ids, encoder.tokenize(TEXTS).ids)
    with torch.no_grad():
        assert torch.equal(rebuilt(tokens, [3])[3], encoder(tokens, [3])[3])


def test_siglip_reads_every_text_filled_up(made):
    encoder = made["siglip"][-1]
    assert encoder.tokenize(["ring"]).lengths.tolist() == [12]
    edit(made["siglip"][0] / "tokenizer_config.json", padding_side="left")
    left = load_image_text_folder(made["siglip"][0])
    assert left.tokenize(["ring"]).ids.tolist() == [1] * 10 + encoder.tokenize(["ring"]).ids.tolist()[:2]
    edit(
        made["siglip"][0] / "tokenizer_config.json", padding_side="right", tokenizer_class="Siglip2Tokenizer"
    )
    lower = load_image_text_folder(made["siglip"][0])
    assert torch.equal(lower.tokenize(["RING"]).ids, encoder.tokenize(["ring"]).ids)


def test_what_is_no_dual_encoder_is_refused(made, tmp_path):
    folder = made["clip"][0]
    for name in ("model.safetensors", "config.json", "preprocessor_config.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(ArtifactError, match=r"tokenizer.json is missing"):
        load_image_text_folder(tmp_path)
    edit(tmp_path / "config.json", model_type="blip")
    with pytest.raises(ArtifactError, match="no dual encoder that can be loaded; known: clip, siglip"):
        load_image_text_folder(tmp_path)
