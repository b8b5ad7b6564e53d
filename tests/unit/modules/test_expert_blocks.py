"""Mixtures of experts in a vision transformer."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from brickwork.core.elastic import ElasticAxes
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.joined import join
from brickwork.modules.expert_blocks import ExpertHalf, put_inside, routings
from brickwork.representation.load import load_representation
from brickwork.representation.model import Representation


def encoder(inside=None, seed=0):
    torch.manual_seed(seed)
    config = ImageEncoderConfig(architecture="vit", width=16, depth=2, patch=4, num_heads=2, embedding_dim=8)
    made = ImageEncoder(config, (8, 8, 1))
    if inside:
        put_inside(made, inside)
    return made


def test_a_token_gets_the_weighted_answers_of_its_experts():
    """Written out: softmax over all experts, the best two, weights that sum to 1."""
    torch.manual_seed(0)
    half = ExpertHalf(6, 10, 4, 2)
    x = torch.randn(2, 3, 6)
    with torch.no_grad():
        given, by_hand = half(x), torch.zeros(2, 3, 6)
        for image in range(2):
            for token in range(3):
                z = x[image, token]
                p = (half.router.scorer.modules_embedding @ z).softmax(0)
                best = p.topk(2).indices
                for expert in best:
                    inner = F.gelu(z @ half.experts.up.weight[expert], approximate="tanh")
                    by_hand[image, token] += (
                        p[expert] / p[best].sum() * (inner @ half.experts.down.weight[expert])
                    )
    torch.testing.assert_close(given, by_hand)


def test_all_blocks_route_and_are_counted():
    made = encoder({"experts": 4, "active": 2})
    x = torch.zeros(1, 1, 8, 8)
    with routings(made) as routed:
        made(x)
    assert [one.index.shape for one in routed] == [(5, 2), (5, 2)]
    made(x)
    assert len(routed) == 2, "only what happens inside is kept"
    # 2 of 4 experts of the same size: twice the matrices of the plain MLP, and the gate's own
    plain, mlp, gate = encoder().flops(), 2 * 2 * 5 * 2 * 16 * 64, 2 * 2 * 5 * 16 * 4
    assert made.flops() == pytest.approx(plain + mlp + gate, rel=0.03)


@pytest.mark.parametrize(
    "inside",
    [
        {"experts": 3, "active": 1},
        {"experts": 3, "active": 2, "joints": {"kind": "linear", "outer": 12, "after": [0]}},
    ],
)
def test_what_is_inside_is_rebuilt(inside, tmp_path):
    """Alone, and as a member of a joint encoder."""
    made = encoder(inside)
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), dtype=np.uint8)
    for number, one in enumerate((made, join([encoder(seed=1), made]))):
        kept = Representation(one, ElasticAxes(dims=(one.embedding_dim,), layers=(one.num_layers,)))
        kept.save(tmp_path / str(number))
        again = load_representation(tmp_path / str(number))
        np.testing.assert_array_equal(again.encode(images), kept.encode(images))
