"""Packed linear layers are nn.Linear and GELU in bf16."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from brickwork.core.elastic import ElasticAxes
from brickwork.encoders.blocks.mlp import Mlp
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.representation.model import Representation
from brickwork.representation.packed import PackedLinear, can_pack, pack_linears

pytestmark = pytest.mark.skipif(not can_pack(), reason="this torch build lacks the packed operators")


@pytest.mark.parametrize("shape", [(1, 24), (7, 24), (2, 3, 24), (5000, 24)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_the_layer_is_torchs(shape, bias, activation):
    torch.manual_seed(0)
    linear = nn.Linear(24, 40, bias=bias)
    x = torch.randn(shape).bfloat16()
    # Computed in float32 from the rounded numbers: only the result is rounded again.
    rounded = None if linear.bias is None else linear.bias.bfloat16().float()
    expected = F.linear(x.float(), linear.weight.bfloat16().float(), rounded)
    if activation == "gelu":
        expected = F.gelu(expected)
    results = PackedLinear(linear, activation)(x)
    assert results.dtype == torch.bfloat16
    torch.testing.assert_close(results.float(), expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("architecture", ["conv", "mlp"])
def test_an_encoder_of_linear_layers_alone_has_no_parameter_left(architecture):
    """The encoder asks its weights for their type."""
    torch.manual_seed(0)
    config = ImageEncoderConfig(architecture=architecture, embedding_dim=6, width=8, depth=2)
    model = Representation(ImageEncoder(config, (8, 8, 1)).eval(), ElasticAxes(dims=(6,), layers=(1,)))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    exact, rounded = (model.encode(images, precision=name) for name in ("fp32", "bf16"))
    np.testing.assert_allclose(rounded, exact, atol=0.03)


def test_an_mlp_inside_a_module_is_replaced_whole():
    torch.manual_seed(0)
    model = nn.ModuleDict({"mlp": Mlp(16, 64), "deep": nn.Sequential(nn.Linear(16, 16))})
    x = torch.randn(9, 16).bfloat16()
    expected = model["deep"](model["mlp"](x.float()))
    with torch.inference_mode():
        pack_linears(model)
        results = model["deep"](model["mlp"](x))
    assert not [m for m in model.modules() if isinstance(m, nn.Linear)]
    torch.testing.assert_close(results.float(), expected, rtol=3e-2, atol=2e-2)


def test_the_layers_meet_few_numbers_of_rows(monkeypatch):
    # For every number of rows the library makes and keeps code: varied batches cost hundreds of megabytes.
    from brickwork.representation import packed

    from .conftest import make_representation, make_texts

    seen, forward = set(), packed.PackedLinear.forward

    def spy(self, x):
        seen.add(len(x))
        return forward(self, x)

    monkeypatch.setattr(packed.PackedLinear, "forward", spy)
    model, texts = make_representation(), make_texts(600)
    results = model.encode(texts, precision="bf16", token_budget=700)
    assert ((results * model.encode(texts, precision="fp32")).sum(1)).min() > 0.999
    assert len(seen) > 2
    assert all(rows % 128 == 0 for rows in seen if rows > 128)


def test_an_encoder_that_is_nothing_but_linear_layers():
    """All its weights are packed: the bf16 copy has no parameter left from which a precision could be read."""
    encoder = ImageEncoder(ImageEncoderConfig(embedding_dim=8, architecture="mlp", width=16), (4, 4, 1))
    model = Representation(encoder, ElasticAxes(dims=(8,), layers=(1,)))
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 1), dtype=np.uint8)
    results, exact = (model.encode(images, precision=precision) for precision in ("bf16", "fp32"))
    assert not np.array_equal(results, exact)  # it did run in bf16
    assert (results * exact).sum(1).min() > 0.999


@pytest.mark.parametrize(
    ("lengths", "added"), [([100, 60], [96]), ([100, 28], []), ([70, 70], [70, 46]), ([9, 8], [])]
)
def test_filling_up_adds_whole_texts_at_the_end(lengths, added):
    from brickwork.core.types import TokenBatch
    from brickwork.representation.batches import fill_up

    tokens = TokenBatch.from_lists([[7] * length for length in lengths])
    full = fill_up(tokens)
    assert full.lengths.tolist() == lengths + added
    assert full.ids.tolist() == [7] * sum(lengths) + [0] * sum(added)
    assert full.max_length == tokens.max_length
