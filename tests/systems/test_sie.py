"""SIE: changes as numbers, the predictor, the loss by its sums, what is read off and moved, each beside its floor."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from sklearn.neighbors import NearestNeighbors

from brickwork.core.errors import ConfigError
from brickwork.data.types import Examples
from brickwork.representation.contract import build_system
from brickwork.systems.sie import changes as known
from brickwork.systems.sie.changes import Change
from brickwork.systems.sie.config import Config
from brickwork.systems.sie.data import Data, load_data
from brickwork.systems.sie.predictors import BatchNorm, ConcatMlp, HyperLinear, projector
from brickwork.systems.sie.recipes import smoke
from brickwork.systems.sie.steering import (
    nearest_is_same,
    own_ranks,
    r_squared,
    same_object_scores,
    steering_scores,
)

TURN = Change(name="rotation", columns=("rx", "ry", "rz"), kind="rotation")
ANGLE = Change(name="angle", columns=("angle",), kind="circle")
LIGHT = Change(name="light", columns=("light",), kind="line", size=2.0)


@pytest.fixture(scope="module")
def data():
    return load_data(smoke().data, 0)


@pytest.fixture(scope="module")
def system(data):
    return build_system("sie", smoke().model, data, 0)


def batch_of(system, data, rows, step=0):
    return {**system.collate(data.train.take(list(rows))), "step": step, "indices": list(rows)}


# ---- changes as numbers ------------------------------------------------------------------------------------------------


def test_relative_rotations_are_those_of_scipy():
    """R₁⁻¹R₂ of Euler angles about fixed axes; signs as the products give them."""
    rng = np.random.default_rng(0)
    first, second = rng.uniform(-90, 90, (2, 200, 3))
    expected = (
        Rotation.from_euler("xyz", first, degrees=True).inv()
        * Rotation.from_euler("xyz", second, degrees=True)
    ).as_quat()
    g = known.between((TURN,), first, second)
    np.testing.assert_allclose(g * np.sign((g * expected).sum(1, keepdims=True)), expected, atol=1e-12)
    # Without canonical signs: some w are negative, few (4.4 % of 3DIEBench's, which draws angles like this).
    many = rng.uniform(-90, 90, (2, 40_000, 3))
    assert (known.between((TURN,), *many)[:, 3] < 0).mean() == pytest.approx(0.044, abs=0.005)


def test_the_same_angles_written_otherwise_are_the_same_change():
    """350 degrees are −10, whose quaternion is the negative of scipy's of 350."""
    for first, second, same in (
        ([0, 0, 350.0], [0, 0, 10.0], [0, 0, 20.0]),
        ([190.0, 0, 0], [0.0, 0, 0], [170.0, 0, 0]),
    ):
        g = known.between((TURN,), np.array([first]), np.array([second]))[0]
        np.testing.assert_allclose(g, Rotation.from_euler("xyz", same, degrees=True).as_quat(), atol=1e-12)
    np.testing.assert_allclose(known.of((TURN,), {"rz": 270.0}), known.of((TURN,), {"rz": -90.0}), atol=1e-12)


def test_changes_of_a_circle_and_of_a_line():
    values = np.array([[350.0, 0.0], [10.0, 0.5]])
    g = known.between((ANGLE, LIGHT), values[:1], values[1:])[0]
    turn, part = np.deg2rad(20), np.deg2rad(90 * 0.5 / 2)
    np.testing.assert_allclose(g, [np.cos(turn), np.sin(turn), np.cos(part), np.sin(part)])
    assert known.width((ANGLE, LIGHT, TURN)) == 8
    np.testing.assert_allclose(known.of((ANGLE, LIGHT), {"angle": 20, "light": 0.5}), g)
    np.testing.assert_allclose(
        known.of((ANGLE, TURN), {}), [1, 0, 0, 0, 0, 1]
    )  # nothing changes: as long as any


def test_what_is_written_as_numbers_is_read_again():
    rng = np.random.default_rng(1)
    changes = (ANGLE, LIGHT, TURN)
    differences = np.column_stack(
        [rng.uniform(-179, 179, 50), rng.uniform(-2, 2, 50), *rng.uniform(-89, 89, (3, 50))]
    )
    g = known.between(changes, np.zeros((50, 5)), differences)
    read = known.readable(changes, 0.8 * g)
    names = known.columns_of(changes)
    np.testing.assert_allclose(np.stack([read[name] for name in names], 1), differences, atol=1e-9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("angle", "is no change"),
        ("=3", "is no change"),
        ("angle=x", "is no change"),
        ("angle=1,", "is no change"),
        ("angle=1, angle=2", "given twice"),
    ],
)
def test_what_is_no_change_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        known.parse(text)


def test_unknown_changes_are_named():
    assert known.parse("angle=30, light=-0.5") == {"angle": 30.0, "light": -0.5}
    with pytest.raises(ConfigError, match="no change 'angel': did you mean 'angle'"):
        known.of((ANGLE,), {"angel": 3.0})
    with pytest.raises(ConfigError, match="finite"):
        known.of((ANGLE,), {"angle": float("inf")})
    assert known.of((LIGHT,), {"light": LIGHT.size})[1] == pytest.approx(1)
    with pytest.raises(ConfigError, match=r"light=-2.5: .*differences of up to 2 either way"):
        known.of((LIGHT,), {"light": -2.5})


# ---- the predictor -------------------------------------------------------------------------------------------------------


def test_the_factorised_predictor_is_the_materialised_one_and_odd_in_g():
    torch.manual_seed(0)
    rho = HyperLinear(6, 4).double()
    z, g = torch.randn(5, 6).double(), torch.randn(5, 4).double()
    whole = torch.stack([sum(g[b, k] * rho.matrices[k] for k in range(4)) @ z[b] for b in range(5)])
    torch.testing.assert_close(rho(z, g), whole)
    torch.testing.assert_close(rho.matrix(g[0]) @ z[0], whole[0])
    torch.testing.assert_close(rho(z, -g), -whole)
    assert torch.autograd.grad(rho(z, g).sum(), rho.matrices)[0].abs().min() > 0


def test_solving_for_the_change_finds_the_one_that_was_applied(system, data):
    """Where the second embedding is W(g) z of the first, and, with noise, as numpy's least squares finds it."""
    r = system.eval().r(data.test.columns["input"][:20])
    g = known.between((ANGLE,), np.zeros((20, 1)), np.linspace(-170, 170, 20)[:, None])
    with torch.no_grad():
        z = system.z_equivariant(r)
        moved = system.predictor(z, torch.from_numpy(g).float())
    answers = iter(
        [z, moved, z, moved + 0.1 * torch.randn(moved.shape, generator=torch.Generator().manual_seed(0))]
    )
    targets = []

    class Same(torch.nn.Module):
        def forward(self, r):
            targets.append(next(answers))
            return targets[-1]

    kept, system.parted.projector = system.parted.projector, Same()
    try:
        found, fit = system.solve(r, r)
        np.testing.assert_allclose(found.numpy(), g, atol=1e-3)
        np.testing.assert_allclose(fit.numpy(), 1, atol=1e-5)
        found, fit = system.solve(r, r)
    finally:
        system.parted.projector = kept
    for row in range(20):
        columns = (system.predictor.matrices @ z[row]).T.detach().numpy()
        (expected, *_) = np.linalg.lstsq(columns, targets[-1][row].numpy(), rcond=None)
        np.testing.assert_allclose(found[row].numpy(), expected / np.linalg.norm(expected), atol=1e-3)
    assert 0.5 < fit.mean() < 1


def test_a_matrix_that_ignores_rotations_is_zero_and_one_that_ignores_g_is_possible_for_an_mlp():
    """The quaternions of the data span all directions: W(g) equal for all of them solves to 0."""
    g = known.between((TURN,), *np.random.default_rng(0).uniform(-90, 90, (2, 300, 3)))
    assert np.linalg.matrix_rank(g) == 4
    assert np.linalg.matrix_rank(g - g.mean(0)) == 4  # nor do they lie in a plane beside the origin
    mlp = ConcatMlp(6, 4).eval()
    with torch.no_grad():
        mlp.layers[0].weight[:, :4] = 0
    z = torch.randn(5, 6)
    assert torch.equal(mlp(z, torch.randn(5, 4)), mlp(z, torch.randn(5, 4)))


def test_projectors_end_without_norm_and_take_single_rows():
    layers = projector(8, (6, 5, 4))
    assert [type(layer).__name__ for layer in layers] == ["Linear", "BatchNorm", "ReLU"] * 2 + ["Linear"]
    assert layers[-1].bias is None
    norm = BatchNorm(3)
    x = torch.randn(7, 3)
    torch.testing.assert_close(norm(x), torch.nn.BatchNorm1d(3)(x))
    assert norm(x[:1]).isfinite().all()


# ---- the loss -----------------------------------------------------------------------------------------------------------


def test_the_loss_by_its_sums(system, data):
    """The equation of the paper's section 4.2, from embeddings, in float64."""
    batch = batch_of(system, data, range(12))
    output = system.loss(batch)
    r = system.embed(batch)
    d = r["first"].shape[1]
    z_inv = [system.project_invariant(r[name][:, : d // 2]) for name in ("first", "second")]
    z_equi = [system.parted.projector(r[name][:, d // 2 :]) for name in ("first", "second")]
    members, others = batch["member"], system._partners(batch)
    angle = np.deg2rad([m.of.values[o, 0] - m.of.values[m.place, 0] for m, o in zip(members, others)])
    a = system.predictor.matrices
    moved = torch.stack(
        [(np.cos(t) * a[0] + np.sin(t) * a[1]).float() @ z for t, z in zip(angle.tolist(), z_equi[0])]
    )

    def v(z):
        return (1 - (z.double().var(0) + 1e-4).sqrt()).clamp(min=0).mean()

    def c(z):
        covariance = torch.cov(z.double().T)
        return (covariance.square().sum() - covariance.diagonal().square().sum()) / len(covariance)

    whole = [torch.cat(pair, 1) for pair in zip(z_inv, z_equi)]
    total = (
        10 * (z_inv[0] - z_inv[1]).double().square().mean()
        + 4.5 * (moved - z_equi[1]).double().square().mean()
        + 10 * (v(whole[0]) / 2 + v(whole[1]) / 2 + v(moved) / 2)
        + 0.1 * (c(whole[0]) + c(whole[1]))
    )
    read = sum(value for name, value in output.terms.items() if name.startswith("read_"))
    assert (output.total - read).item() == pytest.approx(total.item(), rel=1e-5)


def test_the_covariance_sees_across_the_parts(system, data):
    """Equal parts cost more than parts that differ."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 256, 8)
    moved = torch.randn(256, 8)
    same, other = (system._vicreg([a, equi], [a, equi], moved)[0]["covariance"] for equi in (a, b))
    assert same > 5 * other


def test_what_is_drawn_depends_on_seed_step_and_row(system, data):
    system.train()
    partners = [system._partners(batch_of(system, data, range(40), step)) for step in (0, 0, 1)]
    assert partners[0] == partners[1]
    assert partners[0] != partners[2]
    members = data.train.columns["member"][:40]
    assert all(other != m.place for other, m in zip(partners[0], members))
    many = [system._partners(batch_of(system, data, range(1), step))[0] for step in range(700)]
    counts = np.bincount(many, minlength=8)
    assert counts[members[0].place] == 0
    assert np.delete(counts, members[0].place).min() > 60  # about 100 each


def test_only_regression_teaches_the_encoder_what_changed(data):
    """Readouts look at vectors that are cut off from the encoder, unless AugSelf's weight is above 0."""
    plain = replace(
        smoke().model, covariance=None, invariance=None, criterion="simclr", split=0.0, predictor="none"
    )
    for regression, taught in ((0.0, False), (1.0, True)):
        system = build_system("sie", replace(plain, regression=regression), data, 0)
        output = system.loss(batch_of(system, data, range(16)))
        weight = next(system.encoder.parameters())
        (gradient,) = torch.autograd.grad(output.terms["read_whole"], weight, allow_unused=True)
        assert (gradient is not None) == taught


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictor": "none"}, "split=0.5 has no effect with predictor='none'"),
        ({"predictor": "none", "split": 0.0, "equivariance": 1.0}, "equivariance has no effect"),
        ({"criterion": "simclr", "covariance": 1.0}, "covariance has no effect with criterion='simclr'"),
        ({"temperature": 0.2}, "temperature has no effect with criterion='vicreg'"),
        ({"projector": (8, 0)}, "projector"),
    ],
)
def test_wrong_options_are_named(change, message):
    assert any(message in problem for problem in Config(**change).validate())


def test_a_split_that_leaves_nothing_is_refused(data):
    with pytest.raises(ConfigError, match="leaves a part without any"):
        build_system("sie", replace(smoke().model, split=0.001), data, 0)


def test_the_changes_that_are_told_are_those_asked_for():
    with pytest.raises(ConfigError, match=r"no change 'colour'.*rotation"):
        load_data(Data(objects=2, views=2, image_size=8, changes=("colour",)), 0)
    told = load_data(Data(objects=2, views=2, image_size=8, changes=("light_hue", "rotation")), 0)
    system = build_system("sie", replace(smoke().model, readout=8), told, 0)
    assert [change.name for change in system.changes] == ["light_hue", "rotation"]
    assert system.columns == [6, 0, 1, 2]


# ---- measures and their floors -----------------------------------------------------------------------------------


def test_the_floor_of_the_authors_r2_is_not_zero():
    """Predicting the mean quaternion knows no image and has .23 by their formula, 0 with a mean for each number."""
    g = known.between((TURN,), *np.random.default_rng(0).uniform(-90, 90, (2, 100_000, 3)))
    floor = np.broadcast_to(g.mean(0), g.shape)
    assert r_squared(g, floor, one_mean=True) == pytest.approx(0.23, abs=0.005)
    assert r_squared(g, floor) == pytest.approx(0.0, abs=1e-9)
    assert r_squared(g, g, one_mean=True) == 1


def test_ranks_by_counting():
    torch.manual_seed(0)
    queries, candidates = torch.randn(2, 9, 3)
    ranks = own_ranks(queries, candidates)
    cosines = torch.nn.functional.cosine_similarity(queries[:, None], candidates[None], dim=2)
    for i in range(9):
        assert ranks[i] == 1 + sum(bool(cosines[i, j] > cosines[i, i]) for j in range(9))
    assert list(own_ranks(candidates, candidates)) == [1] * 9
    assert list(own_ranks(torch.ones(4, 2), torch.ones(4, 2))) == [2.5] * 4  # no vote is a middle place


def test_the_nearest_view_by_scikit_learn():
    rng = np.random.default_rng(0)
    vectors, owner = rng.normal(size=(60, 5)), rng.integers(0, 6, 60)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    _, places = NearestNeighbors(n_neighbors=2, metric="cosine").fit(vectors).kneighbors(vectors)
    wanted = (owner[places[:, 1]] == owner).mean()
    assert nearest_is_same(torch.from_numpy(vectors), torch.from_numpy(owner)) == pytest.approx(wanted)
    # A part in which all views are alike finds what chance does; one that tells objects apart finds them.
    same = torch.from_numpy(owner)
    chance = np.mean([((owner == o).sum() - 1) / 59 for o in owner])
    assert nearest_is_same(torch.ones(60, 2), same) == pytest.approx(chance)
    assert nearest_is_same(torch.eye(6)[same], same) == 1


def test_what_a_search_by_each_part_finds(system, data):
    scores = same_object_scores(system.eval(), data.test)
    assert set(scores) == {f"same_object_{name}" for name in ("invariant", "equivariant", "chance")}
    objects = len({id(member.of) for member in data.test.columns["member"]})
    assert scores["same_object_chance"] == pytest.approx(7 / (8 * objects - 1))  # 8 views each
    assert same_object_scores(system, data.test.select([0])) == {}


def test_steering_of_an_oracle_and_of_nobody(system, data, monkeypatch):
    """A predictor that knows the answers has 1, one that gives noise about chance (H_7/7 with 8 views)."""
    chance = sum(1 / k for k in range(1, 8)) / 7
    held = Examples(data.test.columns)
    scores = steering_scores(system.eval(), held)
    assert scores["chance_mrr"] == pytest.approx(chance)
    assert scores["unmoved_mrr"] == pytest.approx(chance, abs=0.08)

    calls = iter(list({id(m.of): m.of for m in held.columns["member"]}.values()))

    def oracle(z, g):
        one = next(calls)
        return system.z_equivariant(system.r(one.images))[1:]

    monkeypatch.setattr(system.predictor, "forward", oracle)
    assert steering_scores(system, held)["steering_mrr"] == 1
