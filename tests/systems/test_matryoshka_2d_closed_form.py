"""The closed form: the axes are those of PCA, the maps those of Ridge, and full size is the model that it came from."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

import brickwork
from brickwork.core.config import from_dict
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.types import Fits
from brickwork.data.types import Examples, TaskData
from brickwork.representation.contract import build_system
from brickwork.representation.encode import encode_exits
from brickwork.representation.kept import save_system
from brickwork.representation.load import continue_system
from brickwork.systems.matryoshka_2d.closed_form import ClosedForm
from brickwork.systems.matryoshka_2d.config import Config
from brickwork.systems.matryoshka_2d.ridge import Moments, best_ridge, principal_axes

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*texts are few for vectors:brickwork.core.errors.BrickworkWarning"
)
WORDS = [
    "a",
    "cat",
    "sat",
    "on",
    "the",
    "mat",
    "while",
    "seven",
    "birds",
    "sang",
    "about",
    "old",
    "rivers",
    "and",
    "stone",
]


def make_texts(count, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(2, 16))) for _ in range(count)]


@pytest.fixture(scope="module", autouse=True)
def exact():
    """States in float32 on every processor, so that they can be compared with those of scikit-learn's maps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brickwork.systems.matryoshka_2d.closed_form.PRECISION", "fp32")
        yield


@pytest.fixture(scope="module")
def plain():
    """Texts without pairs or labels."""
    texts = Examples({"input": make_texts(300), "domain": ["all"] * 300})
    return TaskData(name="t", kind="texts", modality="text", train=texts, validation=texts, test=texts)


def build(data, encoder, **options):
    return build_system(
        "matryoshka-2d", Config(encoder=encoder, variant="closed_form", **options), data, seed=0
    )


@pytest.fixture(scope="module")
def original(plain, tiny_text):
    """Full vectors and pooled states of the same encoder before anything was learnt."""
    encoder = build(plain, tiny_text).encoder
    encoder.exits = None
    return encoder.eval()


@pytest.fixture(scope="module")
def solved(plain, tiny_text, exact):
    system = build(plain, tiny_text)
    assert isinstance(system, ClosedForm)
    assert isinstance(system, Fits)
    assert list(system.fit(plain.train, start=0)) == [1.0]
    return system.eval()


@pytest.fixture(scope="module")
def read(solved, plain):
    """The texts that were read, in their order."""
    return solved._texts(plain.train)


def states(original, texts, layers):
    return encode_exits(original, texts, layers, precision="fp32")


def plainly(original, texts):
    """The untouched model's unit vectors."""
    full = states(original, texts, [4])[4]
    return full / np.linalg.norm(full, axis=1, keepdims=True)


def test_axes_are_those_of_pca(solved, original, read):
    unit = plainly(original, read)
    ours = solved.encoder.exits.maps["4"].weight.detach().numpy()
    pca = PCA(svd_solver="full").fit(unit.astype(np.float64))
    leading = pca.explained_variance_ratio_ > 1e-4  # directions without variance are free
    assert leading.sum() > 4
    cosines = np.abs((ours * pca.components_).sum(1))
    assert_allclose(cosines[leading], 1, atol=1e-3)
    assert_allclose(ours @ ours.T, np.eye(32), atol=1e-5)


def test_principal_axes_of_well_separated_data():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(500, 6)) * [6, 5, 4, 3, 2, 1] @ np.linalg.qr(rng.normal(size=(6, 6)))[0] + 3
    moments = Moments(1, 6)
    moments.add(torch.zeros(500, 1), torch.from_numpy(y))
    axes = principal_axes(moments).numpy()
    assert_allclose(np.abs((axes.T * PCA().fit(y).components_).sum(1)), 1, atol=1e-9)
    assert (axes[np.abs(axes).argmax(0), range(6)] > 0).all()


@pytest.mark.parametrize("depth", [0, 2])
def test_a_map_is_that_of_ridge_on_the_same_states(solved, original, read, depth):
    exits = states(original, read, [0, depth, 4])
    x = exits[0] if depth == 0 else np.concatenate([exits[depth], exits[0]], axis=1)
    axes = solved.encoder.exits.maps["4"].weight.detach().numpy().T
    y = exits[4] @ axes
    linear = solved.encoder.exits.maps[str(depth)]
    _, _, alpha, _ = best_ridge(solved.moments["fitted"][str(depth)], solved.moments["held_out"][str(depth)])
    theirs = Ridge(alpha=alpha, solver="svd").fit(x.astype(np.float64), y.astype(np.float64))
    results = solved.encode(read, layers=depth, normalize=False, precision="fp32")
    assert_allclose(results, theirs.predict(x), atol=2e-4)
    assert_allclose(
        linear.weight.detach().numpy(), theirs.coef_, rtol=1e-2, atol=1e-2 * np.abs(theirs.coef_).max()
    )


def test_ridge_from_moments_is_scikit_learns_with_the_best_penalty_on_held_out_texts():
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(120, 30)) @ np.diag(np.logspace(0, -2, 30)) + 1, rng.normal(size=(120, 4))
    y = x @ rng.normal(size=(30, 4)) + 0.3 * noise
    parts = [Moments(30, 4), Moments(30, 4)]
    for moments, rows in zip(parts, (slice(0, 80), slice(80, 120))):
        for row in range(rows.start, rows.stop, 7):  # in pieces
            piece = slice(row, min(row + 7, rows.stop))
            moments.add(torch.from_numpy(x[piece]), torch.from_numpy(y[piece]))
    weight, bias, alpha, explained = best_ridge(*parts)
    both = Ridge(alpha=alpha).fit(x, y)
    assert_allclose(weight.numpy().T, both.coef_, atol=1e-8)
    assert_allclose(bias.numpy(), both.intercept_, atol=1e-8)

    def error(a):
        return ((Ridge(alpha=a).fit(x[:80], y[:80]).predict(x[80:]) - y[80:]) ** 2).sum()

    assert error(alpha) <= min(error(alpha * 3.3), error(alpha / 3.3))
    spread = ((y[80:] - y[:80].mean(0)) ** 2).sum()
    assert explained == pytest.approx(1 - error(alpha) / spread, abs=1e-6)


def test_full_size_is_the_untouched_model_turned(solved, original):
    texts = make_texts(40, seed=5)
    full = states(original, texts, [4])[4]
    vectors = solved.encode(texts, normalize=False, precision="fp32")
    scale = np.abs(full @ full.T).max()
    assert_allclose(vectors @ vectors.T / scale, full @ full.T / scale, atol=1e-5)
    assert np.abs(vectors - full).max() > 0.01


def test_prefixes_and_early_exits_are_near_the_full_vectors(solved, original):
    """New texts, every exit, 0 too; and a quarter of the axes holds most of what varies."""
    texts = make_texts(60, seed=6)
    target = solved.encode(texts, precision="fp32")
    for layers in (0, 1, 2, 3):
        assert (solved.encode(texts, layers=layers, precision="fp32") * target).sum(1).mean() > 0.95, layers
    shares = [
        turned[:, :8].var(0).sum() / turned.var(0).sum() for turned in (target, plainly(original, texts))
    ]
    assert shares[0] > 0.7
    assert shares[0] > 1.5 * shares[1]


def test_no_layer_runs_at_depth_0(solved):
    hooks = [
        b.register_forward_hook(lambda *_: pytest.fail("a block ran")) for b in solved.encoder.body.blocks
    ]
    assert solved.encode(["a cat sat"], dim=8, layers=0).shape == (1, 8)
    for hook in hooks:
        hook.remove()
    assert solved.encoder.flops([10], 0) == 2 * 32 * 32
    assert solved.encoder.flops([10], 1) > solved.encoder.flops([10], 0)


def test_it_is_kept_with_its_maps_and_without_its_sums(solved, tmp_path):
    save_system(solved, tmp_path / "run")
    model = brickwork.load(tmp_path / "run")
    assert model.axes.layers == (0, 1, 2, 3, 4)
    assert model.fingerprint == solved.representation().fingerprint
    texts = make_texts(5, seed=7)
    for layers in (0, 2, None):
        assert_allclose(
            model.encode(texts, layers=layers, precision="fp32"),
            solved.encode(texts, layers=layers, precision="fp32"),
            atol=1e-6,
        )
    again = brickwork.load(model.save(tmp_path / "encoder"))
    assert (again.axes, again.fingerprint) == (model.axes, model.fingerprint)
    assert json.loads((tmp_path / "encoder" / "brickwork.json").read_text())["architecture"]["exits"] == [
        0,
        1,
        2,
        3,
        4,
    ]
    with torch.no_grad():
        again.encoder.exits.maps["0"].bias += 1
    assert again.fingerprint != model.fingerprint


def test_a_resumed_fit_ends_with_the_same_maps(plain, tiny_text, monkeypatch):
    monkeypatch.setattr("brickwork.systems.matryoshka_2d.closed_form._ROUND", 100)
    whole, stopped, resumed = (build(plain, tiny_text) for _ in range(3))
    assert len(list(whole.fit(plain.train, start=0))) == 3
    next(iter(stopped.fit(plain.train, start=0)))
    resumed.load_state_dict(stopped.state_dict())
    assert list(resumed.fit(plain.train, start=1))[-1] == 1.0
    maps = (system.encoder.exits.state_dict() for system in (whole, resumed))
    assert all(torch.equal(a, b) for a, b in zip(*(m.values() for m in maps)))


def test_any_pooling_and_some_depths_only(plain, tiny_text):
    """With the first token as pooling, an early exit still reads means; depths without a map are refused by name."""
    system = build(plain, replace(tiny_text, pooling="cls"), layers=(0, 2, 4), dims=(8, 32), max_texts=200)
    list(system.fit(plain.train, start=0))
    model = system.eval().representation()
    assert (model.axes.dims, model.axes.layers) == ((8, 32), (0, 2, 4))
    texts = make_texts(20, seed=8)
    target = model.encode(texts, precision="fp32")
    for layers in (0, 2):
        assert (model.encode(texts, layers=layers, precision="fp32") * target).sum(1).mean() > 0.9
    with pytest.raises(ConfigError, match=r"layers=1 has no map in this model; choose one of \[0, 2, 4\]"):
        model.encode(texts, layers=1)
    with pytest.raises(ConfigError, match=r"layers \[3\].*has layers 0, 2, 4"):
        encode_exits(model.encoder, texts, [3])


def test_every_kind_of_text_is_read_and_others_refused(
    pairs, triplets, scored, labelled_texts, images, tiny_text
):
    for data in (pairs, triplets, scored, labelled_texts):
        list(build(data, tiny_text).fit(data.train, start=0))
    with pytest.raises(DataError, match="holds images"):
        build(images, tiny_text)
    few = Examples({"input": make_texts(9), "domain": ["x"] * 9})
    with pytest.raises(DataError, match="9 different texts are too few"):
        next(iter(build(pairs, tiny_text).fit(few, start=0)))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.1},
        {"objective": "info_nce"},
        {"kl_weight": 0.0},
        {"detach_teacher": False},
        {"compression_dim": 8},
    ],
)
def test_options_of_steps_are_refused(options):
    with pytest.raises(ConfigError, match="no effect with variant 'closed_form'"):
        from_dict(Config, {"variant": "closed_form", **options})
    with pytest.raises(ConfigError, match="max_texts has no effect with variant '2dmse'"):
        from_dict(Config, {"max_texts": 100})


# ---- a training that starts from it


@pytest.fixture(scope="module")
def start(pairs, tiny_text, tmp_path_factory, exact):
    """The folder of a finished closed form on pairs."""
    system = build(pairs, tiny_text)
    list(system.fit(pairs.train, start=0))
    return save_system(system.eval(), tmp_path_factory.mktemp("start") / "run")


def going_on(start, data, encoder, **options):
    config = Config(encoder=encoder, **options)
    return continue_system("matryoshka-2d", config, data, seed=3, start=start)


def test_a_training_starts_where_the_closed_form_ended_and_trains_the_maps(start, pairs, tiny_text, tmp_path):
    texts = pairs.train.columns["anchor"][:6]
    shorter = going_on(start, pairs, replace(tiny_text, max_tokens=5), layers=(2, 4))
    assert (shorter.encoder.max_tokens, shorter.axes.layers) == (5, (2, 4))
    assert shorter.encoder.tokenize(texts).max_length == 5
    system = going_on(start, pairs, tiny_text, dims=(8, 32))
    assert (system.seed, system.facts, system.axes.layers) == (3, {"objective": "info_nce"}, (0, 1, 2, 3, 4))
    before = brickwork.load(start)
    for layers in (0, 2, 4):
        assert_allclose(
            system.encode(texts, layers=layers, precision="fp32"),
            before.encode(texts, layers=layers, precision="fp32"),
            atol=1e-6,
        )
    drawn, moved = set(), set()
    system.train()
    for step in range(12):
        batch = {**system.collate(pairs.train.take(range(8))), "step": step}
        system.zero_grad()
        system.loss(batch).total.backward()
        drawn |= set(system.plan(step).layers)
        moved |= {
            n for n, p in system.encoder.exits.named_parameters() if p.grad is not None and p.grad.any()
        }
    assert drawn == {0, 1, 2, 3, 4}
    assert moved == {name for name, _ in system.encoder.exits.named_parameters()}
    system.eval()
    save_system(system, tmp_path / "run")
    assert brickwork.load(tmp_path / "run").fingerprint == system.representation().fingerprint


@pytest.mark.parametrize("variant", ["2dmse_weighted", "adaptive_layer"])
def test_variants_that_draw_train_depth_0_too(start, pairs, tiny_text, variant):
    system = going_on(start, pairs, tiny_text, variant=variant)
    steps = [step for step in range(40) if 0 in system.plan(step).layers]
    assert 2 < len(steps) < 30
    batch = {**system.collate(pairs.train.take(range(8))), "step": steps[0]}
    assert torch.isfinite(system.loss(batch).total)


def test_what_cannot_start_from_it_is_refused(start, pairs, tiny_text):
    with pytest.raises(ConfigError, match="start has no effect with variant 'closed_form'"):
        going_on(start, pairs, tiny_text, variant="closed_form")
    with pytest.raises(ConfigError, match="only max_tokens may differ"):
        going_on(start, pairs, replace(tiny_text, num_layers=3))
    with pytest.raises(ConfigError, match="variant 'starbucks' has depths of its own"):
        going_on(start, pairs, tiny_text, variant="starbucks")
    with pytest.raises(ConfigError, match=r"maps at \[0, 1, 2, 3, 4\] only"):
        going_on(start, pairs, tiny_text, layers=(2, 5))


@pytest.mark.parametrize("same", ["inputs", "both"])
def test_of_inputs_that_are_all_the_same_a_map_gives_the_mean(same):
    """Not NaN: texts of unknown words alone, or one text many times."""
    fitted, held_out = Moments(3, 2), Moments(3, 2)
    generator = torch.Generator().manual_seed(0)
    x = torch.full((40, 3), 0.5)
    y = torch.randn(40, 2, generator=generator) if same == "inputs" else torch.full((40, 2), 0.25)
    fitted.add(x[:30], y[:30])
    held_out.add(x[30:], y[30:])
    weight, bias, _, share = best_ridge(fitted, held_out)
    assert_allclose(x.double() @ weight + bias, y.double().mean(0).expand(40, 2), atol=1e-12)
    assert share == pytest.approx(0, abs=0.2)
