"""Encoders of images, and of images and texts, as ONNX: the vectors of encode to 1e-4."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

import brickwork
from brickwork.core.errors import ConfigError
from brickwork.representation.export_onnx import export_onnx
from vision_checkpoints import dual_checkpoint, image_checkpoint, pictures

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' and torch's own


def run(file, **inputs):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]


def some(number):
    """Images of another size than the models take, as many as are asked for."""
    first = pictures(1)[0]
    return np.stack([np.roll(first, 5 * place, axis=1) for place in range(number)])


def test_an_encoder_of_images_with_its_preprocessing(tmp_path):
    image_checkpoint("vit", tmp_path / "vit")
    model = brickwork.load(tmp_path / "vit")
    file = export_onnx(model, tmp_path / "out", dim=8, layers=model.encoder.num_layers)
    assert file == tmp_path / "out" / "model.onnx"
    for number in (1, 5):  # others than it was traced with
        images = some(number)
        expected = model.encode(images, dim=8, precision="fp32")
        assert_allclose(run(file, pixel_values=model.encoder.prepare(images)), expected, atol=1e-4)
    # The file beside it says how images become its numbers: transformers makes the same ones.
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    settings = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    theirs = ViTImageProcessorPil(**{k: v for k, v in settings.items() if k != "image_processor_type"})
    pixels = theirs(list(some(2)), return_tensors="pt")["pixel_values"]
    assert_allclose(pixels.numpy(), model.encoder.prepare(some(2)).numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["siglip"])
def test_both_sides_of_a_dual_encoder(kind, tmp_path):
    dual_checkpoint(kind, tmp_path / kind)
    model = brickwork.load(tmp_path / kind)
    with pytest.raises(ConfigError, match="two files"):
        export_onnx(model, tmp_path / "one.onnx")
    folder = export_onnx(model, tmp_path / "out")
    images, texts = some(2), ["a photo of a ring", "box"]
    pixels = model.encoder.image.prepare(images)
    ids, mask = model.encoder.tokenize(texts).padded(model.encoder.pad_id)
    x = run(folder / "vision_model.onnx", pixel_values=pixels)
    y = run(folder / "text_model.onnx", input_ids=ids, attention_mask=mask)
    assert_allclose(x, model.encode(images, precision="fp32"), atol=1e-4)
    assert_allclose(y, model.encode(texts, precision="fp32"), atol=1e-4)
    numbers = json.loads((folder / "config.json").read_text())
    logits = numbers["logit_scale"] * x @ y.T + (numbers["logit_bias"] or 0)
    assert_allclose(logits, model.encoder.logits(x @ y.T), rtol=1e-5)
    assert (folder / "tokenizer.json").is_file()
