"""Encoders side by side: the first one's dimensions are its own bits; what does not fit together is refused."""

import numpy as np
import pytest
import torch

import brickwork
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.encoders.build import build_text_encoder, encoder_from_architecture
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.joined import join
from brickwork.representation.export_onnx import export_onnx
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from brickwork.representation.model import Representation

TEXTS = ["hello world", "", "the cat sat on the mat", "a b c d e f"] * 9
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def image_encoder(dim, side=8):
    return ImageEncoder(ImageEncoderConfig(width=8, depth=2, embedding_dim=dim), (side, side, 3)).eval()


def text_encoder(dim, tokenizer=None, max_tokens=24, **options):
    config = TextEncoderConfig(
        backbone="scratch", width=32, vocab_size=300, projection=dim, max_tokens=max_tokens, **options
    )
    return build_text_encoder(config, TEXTS, tokenizer=tokenizer).eval()


def whole(encoder):
    dims = getattr(encoder, "dims", (encoder.embedding_dim,))
    return Representation(encoder, ElasticAxes(dims=dims, layers=(encoder.num_layers,)))


def pair(kind):
    """Two encoders of other sizes, and what they read."""
    if kind == "image":
        return image_encoder(16), image_encoder(24), IMAGES
    first = text_encoder(16, num_layers=2)
    return first, text_encoder(24, first.tokenizer, num_layers=1), TEXTS


@pytest.mark.parametrize("kind", ["image", "text"])
def test_the_vector_is_the_members_one_after_the_other(kind):
    first, second, inputs = pair(kind)
    joined = whole(join([first, second]))
    assert joined.axes.dims == (16, 40)
    one, two = (whole(member).encode(inputs, normalize=False) for member in (first, second))
    assert np.array_equal(joined.encode(inputs, normalize=False), np.concatenate([one, two], axis=1))
    assert np.array_equal(joined.encode(inputs, dim=16), whole(first).encode(inputs))
    assert joined.encoder.flops(*([[4, 9]] if kind == "text" else [2])) == sum(
        member.flops([4, 9], member.num_layers) if kind == "text" else member.flops(2)
        for member in (first, second)
    )


@pytest.mark.parametrize("kind", ["image", "text"])
def test_it_is_saved_as_one_and_its_scales_with_it(kind, tmp_path):
    first, second, inputs = pair(kind)
    encoder = join([first, second])
    encoder.scales.copy_(torch.tensor([1.0, 0.5]))
    joined = whole(encoder)
    joined.save(tmp_path / "model")
    loaded = brickwork.load(tmp_path / "model")
    assert loaded.fingerprint == joined.fingerprint
    assert np.array_equal(loaded.encode(inputs, normalize=False), joined.encode(inputs, normalize=False))
    half = loaded.encode(inputs, normalize=False)[:, 16:]
    np.testing.assert_allclose(half, 0.5 * whole(second).encode(inputs, normalize=False), rtol=1e-6)


def test_joined_ones_are_joined_flat_and_keep_their_scales():
    members = [image_encoder(8) for _ in range(3)]
    two = join(members[:2])
    two.scales.copy_(torch.tensor([1.0, 2.0]))
    three = join([two, members[2]])
    assert three.dims == (8, 16, 24)
    assert three.scales.tolist() == [1.0, 2.0, 1.0]
    assert not any("members" in described for described in three.architecture()["members"])


@pytest.mark.parametrize("kind", ["image", "text"])
def test_onnx_gives_the_same_vectors(kind, tmp_path):
    """By onnxruntime: ``export_onnx`` compares what it wrote with the encoder, and refuses what differs."""
    first, second, _ = pair(kind)
    assert export_onnx(whole(join([first, second])), tmp_path / "model.onnx").is_file()


def test_what_reads_otherwise_is_refused():
    with pytest.raises(ConfigError, match=r"runs/b and runs/a do not read .* .the shapes of images differ"):
        join([image_encoder(8), image_encoder(8, side=16)], ["runs/a", "runs/b"])
    first = text_encoder(8)
    with pytest.raises(ConfigError, match="numbers of tokens that are read differ: 12 and 24"):
        join([first, text_encoder(8, first.tokenizer, max_tokens=12)])
    with pytest.raises(ConfigError, match="encoder 2 reads images and encoder 1 reads texts"):
        join([first, image_encoder(8)])
    with pytest.raises(ConfigError, match="nothing to join"):
        join([])


def test_what_its_own_system_alone_can_build_again_is_refused():
    """The run would be trained to its end, and its folder could not be read."""
    from brickwork.systems.sie.parts import PartedEncoder

    parted = PartedEncoder(image_encoder(8), None, 0)
    with pytest.raises(ArtifactError):
        encoder_from_architecture(parted.architecture(), None)
    with pytest.raises(
        ConfigError, match=r"runs/views has an encoder that only its own system can build again"
    ):
        join([image_encoder(8), parted], ["runs/a", "runs/views"])


def test_other_formats_and_layers_are_refused(tmp_path):
    first, second, inputs = pair("text")
    joined = whole(join([first, second]))
    with pytest.raises(ArtifactError, match="side by side have no equal"):
        export_sentence_transformers(joined, tmp_path / "st")
    with pytest.raises(ConfigError, match="one exit, layer 1"):
        joined.encoder(joined.encoder.tokenize(inputs), [2])


@pytest.mark.parametrize("members", ["x", [{"kind": "image"}], [{"kind": "image", "members": []}]])
def test_a_damaged_description_is_refused(members):
    with pytest.raises(ArtifactError, match="damaged"):
        encoder_from_architecture({"kind": "image", "members": members}, None)
