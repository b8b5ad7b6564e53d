"""Image encoders: batch independence, shapes, FLOPs by torch's counter, and what bad images get."""

import json

import numpy as np
import pytest
import torch

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.flops import count_flops
from brickwork.encoders.image import ImageEncoder, ImageEncoderConfig

SHAPE = (9, 11, 3)
SHAPES = {"conv": SHAPE, "mlp": SHAPE, "vit": (8, 12, 3)}


def build(architecture="conv", shape=None) -> ImageEncoder:
    torch.manual_seed(0)
    config = ImageEncoderConfig(architecture=architecture, embedding_dim=6, width=8, depth=2)
    return ImageEncoder(config, shape or SHAPES[architecture])


def images(count: int, shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def test_pixels_become_numbers_in_minus_one_to_one():
    encoder = build(shape=(1, 2, 1))
    x = encoder.prepare(np.array([[[[0], [255]]]], np.uint8))
    assert x.tolist() == [[[[-1.0, 1.0]]]]
    prepared = build().prepare(images(2))
    torch.testing.assert_close(prepared[1, 2, 3, 4].item(), images(2)[1, 3, 4, 2] / 127.5 - 1)


@pytest.mark.parametrize("architecture", SHAPES)
def test_a_image_alone_or_in_company_in_training_mode(architecture):
    encoder = build(architecture).train()
    x = encoder.prepare(images(5, SHAPES[architecture]))
    last = encoder.num_layers
    together = encoder(x)[last]
    assert together.shape == (5, 6)
    for i in range(5):
        torch.testing.assert_close(encoder(x[i : i + 1])[last][0], together[i], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("architecture", SHAPES)
def test_flops_are_those_torch_counts(architecture):
    encoder = build(architecture)
    x = encoder.prepare(images(2, SHAPES[architecture]))
    assert encoder.flops(2) == count_flops(lambda: encoder(x))


@pytest.mark.parametrize("architecture", SHAPES)
def test_every_weight_gets_a_gradient_also_under_autocast(architecture):
    encoder = build(architecture)
    with torch.autocast("cpu", torch.bfloat16):
        z = encoder(encoder.prepare(images(3, SHAPES[architecture])))[encoder.num_layers]
    assert z.dtype == torch.float32
    z.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in encoder.parameters())


def test_bfloat16_weights():
    encoder = build().eval()
    x = encoder.prepare(images(3))
    exact = encoder(x)[1]
    torch.testing.assert_close(encoder.to(torch.bfloat16)(x)[1], exact, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("architecture", SHAPES)
def test_rebuilt_from_its_description(architecture):
    encoder = build(architecture)
    rebuilt = ImageEncoder.from_architecture(json.loads(json.dumps(encoder.architecture())))
    rebuilt.load_state_dict(encoder.state_dict())
    x = encoder.prepare(images(2, SHAPES[architecture]))
    assert torch.equal(rebuilt(x)[encoder.num_layers], encoder(x)[encoder.num_layers])
    with pytest.raises(ArtifactError, match="damaged"):
        ImageEncoder.from_architecture({"config": {}})


def test_there_is_one_exit():
    encoder = build()
    assert encoder.num_layers == 1
    with pytest.raises(ConfigError, match="one exit"):
        encoder(encoder.prepare(images(1)), [0, 1])


@pytest.mark.parametrize(
    "wrong", [images(2).astype(np.float32), images(2, (9, 11, 1)), images(2)[0], images(2, (11, 9, 3))]
)
def test_wrong_images_are_told(wrong):
    with pytest.raises(DataError, match=r"uint8 of shape \(number, 9, 11, 3\)"):
        build().prepare(wrong)


def test_collate():
    encoder = build()
    batch = encoder.collate({"input": images(2), "label": [4, 1]})
    assert torch.equal(batch["input"], encoder.prepare(images(2)))
    assert torch.equal(batch["label"], torch.tensor([4, 1]))
