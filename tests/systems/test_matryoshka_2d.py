"""2D Matryoshka and its variants against their definitions, written out with torch alone."""

import math

import pytest
import torch
import torch.nn.functional as F

from brickwork.core.config import from_dict
from brickwork.core.errors import ConfigError, DataError
from brickwork.encoders.config import TextEncoderConfig
from brickwork.representation.contract import build_system
from brickwork.systems.matryoshka_2d.system import Config


def make(data, encoder, **options):
    return build_system("matryoshka-2d", Config(encoder=encoder, **options), data, seed=0)


def batch_of(system, data, step=0):
    return {**system.collate(data.train.take(list(range(12)))), "step": step}


def info_nce(a, p, temperature=0.05):
    a, p = F.normalize(a, dim=-1), F.normalize(p, dim=-1)
    return F.cross_entropy(a @ p.T / temperature, torch.arange(len(a)))


def exits(system, batch, layer):
    return [system.encoder(batch[name], [layer])[layer] for name in ("anchor", "positive")]


def test_a_step_is_four_losses_and_an_alignment(pairs, tiny_text):
    """L1 + L2 + L3 of the paper, for the layer and the prefix that the step drew."""
    system = make(pairs, tiny_text, dims=(8, 16, 32))
    batch = batch_of(system, pairs, step=3)
    output = system.loss(batch)
    n, d = (int(output.stats[name]) for name in ("sampled_layer", "sampled_dim"))
    deep, shallow = exits(system, batch, 4), exits(system, batch, n)
    by_hand = sum(info_nce(a[:, :m], p[:, :m]) for a, p in (deep, shallow) for m in (32, d))
    teacher, student = torch.cat(deep).detach(), torch.cat(shallow)
    p = teacher.softmax(-1)
    by_hand = by_hand + (p * (p.log() - student.log_softmax(-1))).sum(-1).mean()
    torch.testing.assert_close(output.total, by_hand, rtol=1e-5, atol=1e-5)


def test_without_student_and_alignment_it_is_twice_the_last_layer(pairs, tiny_text):
    """student_weight 0, KL off, d = D: exactly 2·ℓ(X_N)."""
    system = make(pairs, tiny_text, dims=(32,), student_weight=0.0, kl_weight=0.0)
    batch = batch_of(system, pairs)
    torch.testing.assert_close(system.loss(batch).total, 2 * info_nce(*exits(system, batch, 4)))


def test_early_exit_is_a_slice_of_the_full_pass(pairs, tiny_text):
    """Encoding with n layers equals layer n of one full pass, cut, then normalised."""
    system = make(pairs, tiny_text).eval()
    texts = pairs.train.columns["anchor"][:5]
    tokens = system.encoder.tokenize(texts)
    with torch.no_grad():
        full = system.encoder(tokens, [1, 2, 3, 4])
    for n in (1, 2, 3, 4):
        cut = F.normalize(full[n][:, :16], dim=-1)
        vectors = torch.from_numpy(system.encode(texts, dim=16, layers=n, precision="fp32"))
        torch.testing.assert_close(vectors, cut, rtol=1e-5, atol=1e-6)


def test_deeper_layers_do_not_run(pairs, tiny_text):
    system = make(pairs, tiny_text)
    for block in system.encoder.body.blocks[2:]:
        block.register_forward_hook(lambda *_: pytest.fail("a deeper block ran"))
    assert system.encode(["a b c"], layers=2).shape == (1, 32)


@pytest.mark.parametrize("detach", [True, False])
def test_gradient_of_the_alignment_into_the_teacher(pairs, tiny_text, detach):
    system = make(pairs, tiny_text, detach_teacher=detach)
    batch = batch_of(system, pairs)
    leaves = {name: x.detach().requires_grad_() for name, x in system.embed(batch).items()}
    (name,) = (term for term in system.loss_from(leaves, batch).terms if term.startswith("kl_"))
    system.loss_from(leaves, batch).terms[name].backward()
    gradient = leaves["anchor/4"].grad
    assert (gradient is None or not gradient.any()) == detach


def test_layer_zero_is_drawn_by_adaptive_layer_only(pairs, tiny_text):
    drawn = {}
    for variant in ("2dmse", "2dmse_weighted", "adaptive_layer"):
        system = make(pairs, tiny_text, variant=variant)
        drawn[variant] = {min(system.plan(step).layers) for step in range(100)}
    assert drawn == {"2dmse": {1, 2, 3}, "2dmse_weighted": {1, 2, 3}, "adaptive_layer": {0, 1, 2, 3}}


def test_every_size_is_drawn_about_equally_often(pairs, tiny_text):
    """Layers 1–3 and dims 8, 16: 600 draws, each expected 200 and 300 times; 5 standard deviations of slack."""
    system = make(pairs, tiny_text)
    layers = [system.plan(step).pairs[0][0] for step in range(600)]
    dims = [system.plan(step).pairs[1][1] for step in range(600)]
    assert all(abs(layers.count(n) - 200) < 5 * math.sqrt(600 * 2 / 9) for n in (1, 2, 3))
    assert all(abs(dims.count(d) - 300) < 5 * math.sqrt(600 / 4) for d in (8, 16))


def test_fixed_plans_name_the_sizes_that_they_train(pairs, tiny_text):
    starbucks = make(pairs, tiny_text, variant="starbucks", dims=(16, 32))
    assert starbucks.plan(0).pairs == ((2, 16), (4, 32))
    assert (starbucks.axes.dims, starbucks.axes.layers) == ((16, 32), (2, 4))
    ese = make(pairs, tiny_text, variant="ese", compression_dim=8)
    assert ese.axes.dims == (8, 32)
    assert ese.axes.layers == (1, 2, 4)  # layer N − 1 is never trained, as the authors' code counts


def test_only_the_given_layers_are_trained(pairs, tiny_text):
    def trained(variant, **options):
        system = make(pairs, tiny_text, variant=variant, layers=(2, 4), **options)
        return {layer for step in range(40) for layer in system.plan(step).layers}, system.axes.layers

    assert trained("2dmse") == ({2, 4}, (2, 4))
    assert trained("adaptive_layer") == ({0, 2, 4}, (2, 4))
    assert trained("ese") == ({0, 4}, (4,))  # the last but one is left out, as the authors' code counts
    assert trained("starbucks", dims=(8, 32)) == ({2, 4}, (2, 4))
    with pytest.raises(ConfigError, match="2 and 3 differ"):
        trained("starbucks", dims=(8, 16, 32))
    with pytest.raises(ConfigError, match=r"layers=\[2, 3\].*end at 4"):
        make(pairs, tiny_text, layers=(2, 3))


@pytest.mark.parametrize("variant", ["2dmse", "2dmse_weighted", "ese", "adaptive_layer", "starbucks"])
@pytest.mark.parametrize("kind", ["pairs", "triplets", "scored"])
def test_every_variant_learns_every_kind(variant, kind, tiny_text, request):
    """The base losses fall; alignments need not, since their targets move."""
    data = request.getfixturevalue(kind)
    system = make(data, tiny_text, variant=variant)
    optimiser = torch.optim.Adam(system.parameters(), lr=1e-2)

    def base_losses():
        terms = system.loss(batch_of(system, data)).terms
        return sum(term.item() for name, term in terms.items() if name.startswith("layer_"))

    first = base_losses()
    for step in range(8):
        optimiser.zero_grad()
        system.loss(batch_of(system, data, step)).total.backward()
        optimiser.step()
    assert base_losses() < 0.9 * first


def test_wrong_data_and_encoders_are_refused(images, labelled_texts, pairs, tiny_text):
    with pytest.raises(DataError, match=r"2d does not learn from.*take .*: .*matryoshka, "):
        make(images, tiny_text)
    with pytest.raises(
        DataError, match=r"labelled \(text\), which matryoshka-2d does not learn from: it needs pairs"
    ):
        make(labelled_texts, tiny_text)
    with pytest.raises(DataError, match=r"angle.*anchor, positive, score"):
        make(pairs, tiny_text, objective="angle")
    with pytest.raises(ConfigError, match="one layer"):
        make(pairs, TextEncoderConfig(backbone="static", width=32, vocab_size=320))


@pytest.mark.parametrize(
    "options",
    [
        {"layer_weighting": "log"},
        {"compression_dim": 8},
        {"variant": "ese", "dims": [8, 32]},
        {"variant": "ese", "detach_teacher": False},
        {"kl_weight": 0.0, "kl_temperature": 2.0},
        {"kl_weight": 0.0, "detach_teacher": False},
    ],
)
def test_options_without_effect_are_refused(options):
    with pytest.raises(ConfigError, match="no effect"):
        from_dict(Config, options)
