"""Our vision transformer against transformers' on the same weights; its blocks in pieces; images as tokens."""

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel

from brickwork.core.errors import ConfigError
from brickwork.encoders.image import ImageEncoder, ImageEncoderConfig
from brickwork.encoders.vit import ViT


@pytest.fixture(scope="module")
def theirs() -> ViTModel:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=12,
        patch_size=4,
    )
    model = ViTModel(config, add_pooling_layer=False).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="module")
def ours(theirs) -> ViT:
    return ViT.of(theirs).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_all_hidden_states_are_those_of_transformers(theirs, ours, images):
    with torch.no_grad():
        wanted, got = theirs(images, output_hidden_states=True), ours(images)
    torch.testing.assert_close(got.vector, wanted.last_hidden_state[:, 0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.tokens, wanted.last_hidden_state[:, 1:], atol=1e-5, rtol=1e-5)
    assert got.grid == (3, 3)
    assert len(got.hidden) == 4
    for layer in range(3):
        torch.testing.assert_close(
            got.hidden[layer], wanted.hidden_states[layer][:, 1:], atol=1e-5, rtol=1e-5
        )


def test_gradients_are_those_of_transformers(theirs, ours, images):
    theirs(images).last_hidden_state[:, 0].square().sum().backward()
    ours(images).vector.square().sum().backward()
    wanted = theirs.get_parameter("embeddings.patch_embeddings.projection.weight").grad
    torch.testing.assert_close(ours.patch_embedding.weight.grad, wanted, atol=1e-4, rtol=1e-4)


def test_blocks_in_pieces_are_the_whole_bit_by_bit(ours, images):
    with torch.no_grad():
        x = ours.embed(images)
        whole = ours.blocks_from_to(0, 3)(x)
        assert torch.equal(ours.blocks_from_to(2, 3)(ours.blocks_from_to(0, 2)(x)), whole)
        assert torch.equal(ours.norm(whole)[:, 0], ours(images).vector)
        assert torch.equal(ours.blocks_from_to(1, 1)(x), x)
    assert ours.blocks_from_to(1, 3).blocks[0] is ours.blocks[1]
    with pytest.raises(ConfigError, match="there are 3"):
        ours.blocks_from_to(2, 4)


def test_tokens_put_in_are_seen_unless_a_mask_hides_them(ours, images):
    with torch.no_grad():
        x = ours.embed(images)
        more = torch.cat([x, torch.randn(3, 2, 32)], dim=1)
        seen, run = torch.ones(3, 1, 1, 12, dtype=torch.bool), ours.blocks_from_to(0, 3)
        assert not torch.allclose(run(more)[:, :10], run(x), atol=1e-3)
        seen[..., 10:] = False
        torch.testing.assert_close(run(more, seen)[:, :10], run(x), atol=1e-5, rtol=1e-5)
        # Each query with a mask of its own: only new tokens look at new tokens.
        own = torch.ones(3, 1, 12, 12, dtype=torch.bool)
        own[:, :, :10, 10:] = False
        torch.testing.assert_close(run(more, own)[:, :10], run(x), atol=1e-5, rtol=1e-5)


def test_masks_under_bfloat16_with_a_gradient(ours, images):
    x = ours.embed(images).detach()
    own = torch.ones(3, 1, 10, 10, dtype=torch.bool).tril()
    exact = ours.blocks_from_to(0, 1)(x, own)
    with torch.autocast("cpu", torch.bfloat16):
        near = ours.blocks_from_to(0, 1)(x.requires_grad_(), own)
    torch.testing.assert_close(near.float(), exact, atol=0.1, rtol=0.05)


def test_an_early_exit_is_the_model_that_ends_there(ours, images):
    with torch.no_grad():
        assert torch.equal(ours.exits(images, (1, 3))[1], ours(images, upto=1).vector)


def test_an_encoder_of_images_has_an_exit_at_every_block():
    torch.manual_seed(0)
    config = ImageEncoderConfig(architecture="vit", width=32, depth=3, embedding_dim=5)
    encoder = ImageEncoder(config, (8, 8, 1))
    x = encoder.prepare(np.zeros((2, 8, 8, 1), np.uint8))
    vectors = encoder(x, (1, 3))
    assert {layer: tuple(z.shape) for layer, z in vectors.items()} == {1: (2, 5), 3: (2, 5)}
    features = encoder.features(x)
    assert torch.equal(features.vector, vectors[3])
    assert features.tokens.shape == (2, 4, 32)
    with pytest.raises(ConfigError, match="layers 1 … 3"):
        encoder(x, (4,))


def test_features_of_a_residual_network_are_its_places():
    encoder = ImageEncoder(ImageEncoderConfig(width=4, depth=2, embedding_dim=5), (8, 8, 3))
    x = encoder.prepare(np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8))
    features = encoder.features(x)
    assert features.grid == (4, 4)
    assert [h.shape[1:] for h in features.hidden] == [(64, 4), (16, 8)]
    torch.testing.assert_close(features.vector, encoder(x)[1])
    pooled = encoder.network[-1](features.tokens.mean(1))
    torch.testing.assert_close(pooled, features.vector, atol=1e-5, rtol=1e-5)
    with pytest.raises(ConfigError, match="no patches"):
        ImageEncoder(ImageEncoderConfig(architecture="mlp"), (8, 8, 3)).features(x)


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"patch": 4}, "patch has no effect with architecture 'conv'"),
        ({"architecture": "vit", "width": 30, "num_heads": 4}, "not a multiple of num_heads 4"),
        ({"architecture": "vit", "shrink": 2}, "shrink has no effect"),
        ({"architecture": "vit", "patch": 0}, "patch is 0"),
    ],
)
def test_options_that_do_not_fit(options, wrong):
    assert any(wrong in problem for problem in ImageEncoderConfig(**options).validate())


def test_patches_that_do_not_fill_the_image():
    with pytest.raises(ConfigError, match="patches of 5 × 5 do not fill images of 8 × 8"):
        ImageEncoder(ImageEncoderConfig(architecture="vit", patch=5), (8, 8, 3))


def test_another_network_is_not_taken_apart():
    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=4, patch_size=4,
        hidden_act="relu",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="activation 'relu'"):
        ViT.of(ViTModel(config))
