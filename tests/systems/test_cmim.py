"""cMIM: its equations written out by hand, its options, its verbs on images and molecules, and what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

import brickwork
from brickwork.api import train as api
from brickwork.cli.main import app
from brickwork.core.config import override
from brickwork.core.errors import ConfigError, DataError
from brickwork.data.config import ImageDataConfig
from brickwork.encoders.config import TextEncoderConfig
from brickwork.modules.recorder import tap
from brickwork.representation.contract import build_system
from brickwork.representation.kept import save_system
from brickwork.systems.cmim import recipes
from brickwork.systems.cmim.system import load_data

MOLECULES = [
    "CCO",
    "c1ccccc1O",
    "CC(=O)O",
    "[Na+].[Cl-]",
    "C[C@H](N)C(=O)O",
    "BrCCCl",
    "CCN",
    "CC(C)C",
    "OCCO",
    "C#N",
]


@pytest.fixture(scope="module")
def digits():
    return load_data(ImageDataConfig(source="digits"), 0)


@pytest.fixture(scope="module")
def molecules(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "molecules.csv"
    path.write_text("smiles\n" + "\n".join(MOLECULES) + "\n")
    return load_data(ImageDataConfig(source=str(path), validation_share=0.2, test_share=0.2), 0)


def make(data, run, **model):
    return build_system("cmim", replace(run.model, **model), data, seed=0)


def of_images(data, **model):
    return make(data, recipes.smoke(), **model)


def of_molecules(data, **model):
    run = recipes.molecules()
    encoder = replace(run.model.encoder, width=32, num_layers=1, max_tokens=32, projection=8)
    return make(data, run, encoder=encoder, decoder=replace(run.model.decoder, width=16), **model)


def batch_of(system, data, rows=12, step=0):
    return {**system.collate(data.train.take(range(rows))), "step": step, "indices": list(range(rows))}


def test_the_loss_is_the_papers_formula_by_hand(digits):
    """−log p(x|z) + ℓ_c − ½ [log q(z|x) + log P(z)] at z = μ, from the networks' outputs with Python loops."""
    system = of_images(digits, temperature=0.5).eval()
    batch = batch_of(system, digits, rows=5)
    outputs = system.encoder(batch["input"], [1])[1].detach()
    total = 0.0
    for i in range(5):
        mean, raw = outputs[i, :16], outputs[i, 16:]
        log_sigma = [-6 + math.log1p(math.exp(min(s + 6, 50))) for s in raw.tolist()]
        pixels = torch.sigmoid(system.decoder(mean[None]))[0].flatten().tolist()
        x = ((batch["input"][i] + 1) / 2).flatten().tolist()
        nll = -sum(a * math.log(p) + (1 - a) * math.log(1 - p) for a, p in zip(x, pixels))
        log_q = -sum(0.5 + 0.5 * math.log(2 * math.pi) + s for s in log_sigma)
        log_prior = -0.5 * sum(
            m * m + math.exp(2 * s) + math.log(2 * math.pi) for m, s in zip(mean.tolist(), log_sigma)
        )
        cosines = [F.cosine_similarity(mean, outputs[j, :16], dim=0).item() for j in range(5) if j != i]
        contrast = -math.log(math.exp(2) / (math.exp(2) + sum(math.exp(2 * c) for c in cosines) / 4))
        total += (nll + contrast - 0.5 * (log_q + log_prior)) / 5
    assert system.loss(batch).total.item() == pytest.approx(total, rel=1e-5)


def test_sums_of_objectives_are_sums_of_losses(digits):
    """One set of weights under every expression; in evaluation mode, so that no noise differs."""

    def value(objective):
        system = of_images(digits, objective=objective).eval()
        return system.loss(batch_of(system, digits)).total.item()

    parts = {name: value(name) for name in ("ae", "mim", "vae", "cmim", "mim + info_nce", "mim + 3*self")}
    contrast = parts["cmim"] - parts["mim"]
    assert contrast > 0
    assert parts["mim + 3*self"] == pytest.approx(parts["mim"] + 3 * contrast, rel=1e-5)
    assert parts["vae"] > parts["ae"] > 0
    alone = of_images(digits, objective="info_nce").eval()
    assert alone.decoder is None
    assert parts["mim + info_nce"] > parts["mim"]


def test_only_the_auto_encoder_has_no_noise(digits):
    for objective, noisy in (("ae", False), ("vae", True), ("mim", True), ("info_nce", True)):
        system = of_images(digits, objective=objective)
        losses = [system.loss(batch_of(system, digits, step=step)).total.item() for step in (0, 1)]
        assert (losses[0] != losses[1]) == noisy, objective
        again = system.loss(batch_of(system, digits, step=0)).total.item()
        assert again == losses[0], "the noise is a function of seed and step"


def test_views_are_shifted_images_while_training_and_no_others(digits):
    system = of_images(digits, objective="info_nce_views")
    batch = batch_of(system, digits)
    exact = system.eval().loss(batch).total.item()
    assert system.train().loss(batch).total.item() > exact


def test_sigma_falls_to_its_floor_and_not_below(digits):
    """Under MIM nothing but the floor holds σ: after training, log σ stands there; a VAE's stays where the data wants it."""
    stats = {}
    for objective in ("mim", "vae"):
        system = of_images(digits, objective=objective, log_sigma_floor=-4.0)
        optimiser = torch.optim.Adam(system.parameters(), lr=3e-3)
        for step in range(150):
            optimiser.zero_grad()
            output = system.loss(batch_of(system, digits, rows=32, step=step))
            output.total.backward()
            optimiser.step()
        stats[objective] = output.stats
    assert stats["mim"]["log_sigma"] >= -4
    assert stats["mim"]["at_floor"] > 0.9
    assert stats["vae"]["at_floor"] < 0.1


def test_mean_and_informative_embeddings(digits):
    system = of_images(digits).eval()
    images = digits.test.columns["input"][:7]
    mean = system.encode(images, normalize=False, precision="fp32")
    h = system.informative(images, normalize=False)
    assert (mean.shape, h.shape) == ((7, 16), (7, 64))
    with torch.no_grad(), tap(system.decoder.output) as seen:
        system.decoder(torch.from_numpy(mean))
    np.testing.assert_allclose(h, seen[0], rtol=1e-5, atol=1e-6)
    unit = torch.from_numpy(system.informative(images, dim=10))
    torch.testing.assert_close(unit, F.normalize(torch.from_numpy(h)[:, :10], dim=1))
    assert system.informative(images[:0]).shape == (0, 64)
    with pytest.raises(ConfigError, match="dim=65 is outside"):
        system.informative(images, dim=65)


def test_images_come_back_and_new_ones_are_drawn(digits):
    system = of_images(digits).eval()
    images = digits.test.columns["input"][:5]
    back, new = system.reconstruct(images), system.sample(3, seed=1)
    assert (back.shape, back.dtype) == (images.shape, np.uint8)
    assert new.shape == (3, 8, 8, 1)
    assert np.array_equal(new, system.sample(3, seed=1))
    assert not np.array_equal(new, system.sample(3, seed=2))
    rows = system.predict({"input": images})
    assert set(rows) == {"kl", "nll"}
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    expected = F.binary_cross_entropy_with_logits(
        system.decoder(torch.from_numpy(system.encode(images, normalize=False, precision="fp32"))),
        x,
        reduction="none",
    )
    np.testing.assert_allclose(rows["nll"], expected.sum((1, 2, 3)).detach(), rtol=1e-5)


def test_without_a_decoder_there_is_nothing_to_reconstruct(digits):
    system = of_images(digits, objective="info_nce").eval()
    for verb in (
        lambda: system.reconstruct(digits.test.columns["input"][:2]),
        lambda: system.sample(1),
        lambda: system.informative(digits.test.columns["input"][:2]),
    ):
        with pytest.raises(ConfigError, match="'info_nce' trains no decoder"):
            verb()
    assert "nll" not in system.evaluate(digits.test)


def test_molecules_are_learnt_written_and_kept(molecules, tmp_path):
    """A few strings by heart: they come back letter by letter; the folder alone gives the same results."""
    system = of_molecules(molecules)
    optimiser = torch.optim.Adam(system.parameters(), lr=1e-2)
    rows = len(molecules.train)
    for step in range(250):
        optimiser.zero_grad()
        system.loss(batch_of(system, molecules, rows=rows, step=step)).total.backward()
        optimiser.step()
    learnt = molecules.train.columns["input"]
    system.eval()
    assert system.reconstruct(learnt) == learnt
    assert system.predict({"input": learnt})["exact"] == [True] * rows
    save_system(system, tmp_path / "model")
    loaded = brickwork.load(tmp_path / "model")
    assert loaded.reconstruct(learnt) == learnt
    options = {"max_tokens": 20, "temperature": 1.0, "top_k": 0, "seed": 3}
    written = loaded.generate(["", "c1cc"], **options)
    assert written == system.generate(["", "c1cc"], **options)
    assert not any("[UNK]" in text or "[PAD]" in text for text in written)
    assert brickwork.generate(tmp_path / "model", ["CC"], max_tokens=5, seed=1)
    vectors = loaded.informative(learnt, normalize=False)
    assert vectors.shape == (rows, 16)
    # The decoder reads the true string: two molecules of one code would still differ.
    with torch.no_grad():
        x = loaded.collate({"input": learnt})["input"]
        code = loaded.code(x).mean[:1].expand(rows, -1)
        assert not torch.allclose(loaded.decoder.hidden(code, x)[0], loaded.decoder.hidden(code, x)[1])


def test_loss_of_strings_per_token(molecules):
    whole, part = (of_molecules(molecules, objective="ae", reduction=r).eval() for r in ("sum", "mean"))
    batch = batch_of(whole, molecules, rows=3)
    nll = -whole.decoder.log_prob(whole.code(batch["input"]).mean, batch["input"])
    expected = (nll / (batch["input"].lengths - 1)).mean()
    torch.testing.assert_close(part.loss(batch).total, expected)
    torch.testing.assert_close(whole.loss(batch).total, nll.mean())


@pytest.mark.parametrize("verb", ["encode", "predict", "generate", "reconstruct", "representation"])
def test_a_string_that_cannot_be_tokenised_is_named(molecules, verb, tmp_path):
    system = of_molecules(molecules).eval()
    bad = ["CCO", "foo!"]
    call = {
        "encode": lambda: system.encode(bad),
        "predict": lambda: system.predict({"input": bad}),
        "reconstruct": lambda: system.reconstruct(bad),
        "generate": lambda: system.generate(bad, max_tokens=3, temperature=1.0, top_k=0, seed=0),
        "representation": lambda: brickwork.load(system.representation().save(tmp_path / "encoder")).encode(
            bad
        ),
    }[verb]
    with pytest.raises(DataError, match=r"row 1: 'foo!' is no SMILES: character 1, 'f'"):
        call()


@pytest.mark.parametrize("kind", ["npy", "npz", "grey", "folder"])
def test_images_of_ones_own(tmp_path, kind):
    from PIL import Image

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    path = tmp_path / {"folder": "images", "npz": "own.npz"}.get(kind, "own.npy")
    if kind == "npz":
        np.savez(path, images=images, labels=np.array(["cat", "dog"] * 10))
    elif kind == "folder":
        path.mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image[..., 0]).save(path / f"{number}.png")
    else:
        np.save(path, images[..., 0] if kind == "grey" else images)
    size = 8 if kind == "folder" else None  # only images in folders are scaled
    data = load_data(
        ImageDataConfig(source=str(path), image_size=size, validation_share=0.2, test_share=0.2), 0
    )
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 4, 4)
    assert data.train.columns["input"].shape[1:] == (8, 8, 3 if kind == "folder" else 1)
    assert (data.kind, data.class_names) == (
        ("labelled", ("cat", "dog")) if kind == "npz" else ("inputs", ())
    )
    system = of_images(data)
    assert math.isfinite(system.loss(batch_of(system, data, rows=5)).total.item())


def test_arrays_that_are_no_images_are_refused(tmp_path):
    for name, arrays, words in (
        ("float.npy", np.zeros((3, 8, 8)), "float64 of shape"),
        ("flat.npy", np.zeros((3, 8), np.uint8), r"uint8 of shape \(3, 8\)"),
        ("one.npy", np.zeros((1, 8, 8), np.uint8), "holds 1 image; training needs 2"),
        ("two.npz", {"a": np.zeros(3), "b": np.zeros(3)}, "call the array of images 'images'"),
        (
            "labels.npz",
            {"images": np.zeros((3, 8, 8), np.uint8), "labels": np.zeros(2)},
            "labels of shape",
        ),
    ):
        path = tmp_path / name
        np.savez(path, **arrays) if isinstance(arrays, dict) else np.save(path, arrays)
        with pytest.raises(DataError, match=words):
            load_data(ImageDataConfig(source=str(path)), 0)
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(DataError, match="cannot be read as an array"):
        load_data(ImageDataConfig(source=str(tmp_path / "text.npy")), 0)


def test_the_wrong_recipe_for_the_data_names_the_right_one(digits, molecules):
    with pytest.raises(DataError, match=r"holds molecules.*--recipe molecules"):
        build_system("cmim", recipes.small().model, molecules, seed=0)
    with pytest.raises(DataError, match=r"holds images.*--recipe small"):
        build_system("cmim", recipes.molecules().model, digits, seed=0)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.objective=mimm", "no term"),
        ("model.temperature=0", "must be above 0"),
        ("model.encoder.embedding_dim=0", "must be at least 1"),
        ("model.decoder.width=0", "must be at least 1"),
    ],
)
def test_options_out_of_range_are_named(setting, words):
    with pytest.raises(ConfigError, match=words):
        override(api.recipe("cmim", "smoke"), [setting])


def test_options_without_effect_are_refused():
    with pytest.raises(ConfigError, match="temperature has no effect"):
        override(api.recipe("cmim", "smoke"), ["model.objective=mim", "model.temperature=0.2"])
    for setting, words in (
        ("model.objective=info_nce_views", "molecules have no such view"),
        ("model.encoder.vocab_size=500", "vocab_size has no effect"),
    ):
        with pytest.raises(ConfigError, match=words):
            override(api.recipe("cmim", "molecules"), [setting])
    pretrained = replace(recipes.molecules().model, encoder=TextEncoderConfig())
    assert any("SMILES have their own tokens" in problem for problem in pretrained.validate())
    mixed = replace(recipes.smoke().model, decoder=recipes.molecules().model.decoder)
    assert any("not both for images or both for molecules" in problem for problem in mixed.validate())


def test_points_of_a_mixture_are_learnt_by_every_objective():
    """Half a second each; information of MIM is that of more than noise."""
    from brickwork.evaluation.codes import ksg_information
    from brickwork.studies.cmim.toy import codes_of, fit_points, mixture

    points, _ = mixture(500, 0, dims=4)
    for kind in ("MIM", "A-MIM", "VAE", "AE"):
        start, end = (fit_points(points, kind, 2, steps=steps, seed=0) for steps in (1, 60))
        torch.manual_seed(0)
        before = start.loss(points).item()
        torch.manual_seed(0)
        assert end.loss(points).item() < before, kind
    assert ksg_information(points.numpy(), codes_of(end, points, 0)) > 0.2


@pytest.mark.parametrize(("source", "file_name"), [("digits", "your-images.npy"), (None, "your-rows.csv")])
def test_what_to_do_next_names_the_kind_of_file(tmp_path, source, file_name):
    file = tmp_path / "molecules.csv"
    file.write_text("smiles\n" + "\n".join(MOLECULES) + "\n")
    recipe = "smoke" if source else "molecules"
    settings = ["--set", "train.steps=1", "--set", "train.batch_size=4"]
    settings += [] if source else ["--set", "data.validation_share=0.1"]  # of ten molecules
    arguments = ["train", "cmim", "--recipe", recipe, "--data", source or str(file), *settings]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert f"predict {tmp_path / 'run'} {file_name}" in " ".join(result.output.split())
