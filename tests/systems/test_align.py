"""ALIGN against what the paper's equations say, computed by torch alone, and the arms of its claims."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from brickwork.api import evaluate as evaluating
from brickwork.api import train as api
from brickwork.core.config import ConfigError, from_dict, override, to_dict
from brickwork.core.errors import DataError
from brickwork.core.types import slice_batch
from brickwork.data.generators.scenes import Noise, make_scenes
from brickwork.evaluation.cross_modal import cross_modal_recall
from brickwork.representation.contract import build_system
from brickwork.studies.align import setups as arms
from brickwork.studies.bench import Bench
from brickwork.systems.align import recipes
from brickwork.systems.align.caption_filters import CaptionFilter
from brickwork.systems.align.data import Data
from brickwork.systems.align.system import Config, load_data
from brickwork.training.gradient_cache import cached_backward
from brickwork.training.loop import fit
from brickwork.training.run import run_from_dict, run_to_dict

SMOKE = recipes.smoke()
ROWS = 24


@pytest.fixture(scope="module")
def data():
    return load_data(replace(SMOKE.data, limit=200), 0)


def make(data, **options):
    return build_system("align", replace(SMOKE.model, **options), data, seed=0)


def batch_of(system, data, rows=range(ROWS)):
    batch = system.collate(data.train.take(list(rows)))
    batch["text_group"][1] = batch["text_group"][0]  # a text and an image that are there twice
    batch["image_group"][3] = batch["image_group"][2]
    return {**batch, "step": 0}


def unit_vectors(system, batch):
    vectors = system.embed(batch)
    return F.normalize(vectors["image"], dim=1), F.normalize(vectors["text"], dim=1)


def test_loss_is_that_of_the_paper(data):
    """Eq. 1 + eq. 2 as a sum, with label smoothing, by torch's cross entropy; equal texts are negatives as in the paper."""
    system = make(data, duplicates="negatives", label_smoothing=0.1, temperature=0.2)
    batch = batch_of(system, data)
    x, y = unit_vectors(system, batch)
    logits, own = x @ y.T / 0.2, torch.arange(ROWS)
    by_hand = sum(F.cross_entropy(one, own, label_smoothing=0.1) for one in (logits, logits.T))
    output = system.loss(batch)
    torch.testing.assert_close(output.total, by_hand)
    assert output.stats["temperature"].item() == pytest.approx(0.2)


def test_duplicates_share_the_target(data):
    system = make(data, label_smoothing=0.0, temperature=0.2)
    batch = batch_of(system, data)
    x, y = unit_vectors(system, batch)
    logits = x @ y.T / 0.2
    target = torch.eye(ROWS)
    for pair in ((0, 1), (2, 3)):
        for row in pair:
            target[row, list(pair)] = 0.5
    by_hand = sum(F.cross_entropy(one, target) for one in (logits, logits.T))
    # Other pairs of the batch may be equal by chance; there are none among these scenes.
    assert len(set(batch["text_group"].tolist())) == len(set(batch["image_group"].tolist())) == ROWS - 1
    torch.testing.assert_close(system.loss(batch).total, by_hand)


@pytest.mark.parametrize("objective", ["info_nce", "siglip", "hinge"])
def test_negatives_of_parts_are_losses_of_small_batches(data, objective):
    """A batch in parts of 10, 10 and 4 pairs: the mean of their losses, weighted by pairs."""
    whole, parts = make(data, objective=objective), make(data, objective=objective, negatives=10)
    batch = batch_of(whole, data)
    bounds = [(0, 10), (10, 20), (20, ROWS)]
    losses = [whole.loss(slice_batch(batch, a, b)).total * (b - a) / ROWS for a, b in bounds]
    torch.testing.assert_close(parts.loss(batch).total, torch.stack(losses).sum())
    assert not torch.isclose(parts.loss(batch).total, whole.loss(batch).total)


@pytest.mark.parametrize("objective", ["info_nce", "siglip", "hinge"])
@pytest.mark.parametrize("chunk", [7, 24])
def test_cached_gradients_equal_direct_ones(data, objective, chunk):
    """Every parameter, the temperature and SigLIP's bias included; open_clip's way gives these k times over."""
    system = make(data, objective=objective).double()
    batch = batch_of(system, data)
    batch["image"] = batch["image"].double()
    direct = system.loss(batch)
    direct.total.backward()
    wanted = {name: p.grad.clone() for name, p in system.named_parameters()}
    assert ("temperature.log_scale" in wanted) == (objective != "hinge")
    system.zero_grad()
    cached = cached_backward(system.embed, system.loss_from, batch, chunk=chunk)
    assert cached.total.item() == pytest.approx(direct.total.item(), rel=1e-9)
    for name, parameter in system.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-9, atol=1e-9, msg=name)


def test_a_fixed_temperature_stays(data):
    system = make(data, temperature=0.5, learn_temperature=False)
    system.loss(batch_of(system, data)).total.backward()
    assert system.temperature.log_scale.grad is None
    assert system.temperature().item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.001}, "temperature is 0.001; it must be at least 0.01"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ({"negatives": 1}, "negatives is 1; it must be at least 2"),
        ({"margin": 0.1}, "margin has no effect with objective 'info_nce'"),
        (
            {"objective": "siglip", "label_smoothing": 0.1},
            "label_smoothing has no effect with objective 'siglip'",
        ),
        ({"objective": "hinge", "temperature": 0.1}, "temperature has no effect with objective 'hinge'"),
        ({"text": {"kind": "text", "projection": 8}}, "text.projection is set by image.embedding_dim"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        from_dict(Config, options)


def test_data_of_another_kind_is_refused(data):
    with pytest.raises(DataError, match="align does not learn from: it needs images with texts"):
        make(replace(data, modality="text"))


def test_it_learns(data, tmp_path):
    """Loss falls and texts find their images far more often than by chance (1 in 100)."""
    task = load_data(replace(SMOKE.data, limit=600), 0)
    system = make(task)
    config = replace(SMOKE.train, steps=120, validate_every=0, save_every=0)
    fit(system, task.train, config, tmp_path / "run", seed=0)
    columns = task.test.take(list(range(100)))
    model = system.representation()
    images, texts = model.encode(columns["image"]), model.encode(columns["text"])
    assert cross_modal_recall(images, texts, range(100), (1,))["text_to_image_recall@1"] > 0.2


def test_evaluate_measures_both_ways(data):
    run = replace(
        SMOKE, data=replace(SMOKE.data, limit=200), train=replace(SMOKE.train, steps=2, validate_every=0)
    )
    with tempfile.TemporaryDirectory() as folder:
        summary = api.train(run, Path(folder) / "run")
        results = evaluating.evaluate(Path(folder) / "run", "scenes", limit=200, baselines=False)
        names = set(results["scores"])
        assert {
            f"{way}_recall@{k}" for way in ("text_to_image", "image_to_text") for k in (1, 5, 10)
        } <= names
        assert summary.representation.encoder.kind == "image-text"


def test_emoji_parts_share_no_text():
    task = load_data(Data(source="emoji", image_size=8, limit=120), 0)
    seen = [set(part.columns["text"]) for part in (task.train, task.validation)]
    assert seen[0]
    assert seen[1]
    assert not seen[0] & seen[1]


# ---- the arms of the claims


def test_canonical_maps_are_those_of_scikit_learn():
    """Correlations of the projections equal those of scikit-learn's CCA, without a ridge."""
    from sklearn.cross_decomposition import CCA

    rng = np.random.default_rng(0)
    shared = rng.normal(size=(300, 2))
    x = np.hstack([shared @ rng.normal(size=(2, 4)), rng.normal(size=(300, 2))]) + 0.5 * rng.normal(
        size=(300, 6)
    )
    y = np.hstack([shared @ rng.normal(size=(2, 3)), rng.normal(size=(300, 2))]) + 0.5 * rng.normal(
        size=(300, 5)
    )
    x, y = x - x.mean(0), y - y.mean(0)
    left, right = arms.canonical_maps(x, y, 2, 1e-9)
    u, v = CCA(2, scale=False, max_iter=2000, tol=1e-10).fit_transform(x, y)
    for column in range(2):
        ours = np.corrcoef((x @ left)[:, column], (y @ right)[:, column])[0, 1]
        theirs = np.corrcoef(u[:, column], v[:, column])[0, 1]
        assert abs(ours) == pytest.approx(abs(theirs), abs=1e-4)


def test_questions_of_image_and_word_have_one_answer():
    images, wanted, gallery, answers = arms.recolouring(20, 0)
    scenes = make_scenes(20, 3_000_017)
    assert len(images) == len(wanted) == len(answers) == 20
    assert all(colour != scene.colour for colour, scene in zip(wanted, scenes))
    assert len(gallery) == 8 * len({(s.shape, s.size, s.place, s.ground) for s in scenes})


def test_arms_differ_in_what_they_say_only():
    plain, noisy = arms.scenes("small", 400), arms.scenes("small", 400, {"mismatched": 0.5}, filtered=True)
    assert (plain.train, plain.model, plain.seed) == (noisy.train, noisy.model, noisy.seed)
    bench = Bench()
    assert len(bench.data(plain).train) == 400
    images = [bench.data(run).test.columns["image"] for run in (plain, noisy)]
    assert np.array_equal(*images), "all are searched on the same clean pairs"


def test_the_filter_sees_the_sizes_of_the_files(tmp_path):
    for name, size in (("wide", (40, 10)), ("tiny", (4, 4)), ("good", (20, 20)), ("fair", (30, 20))):
        Image.new("RGB", size, (len(name), 0, 0)).save(tmp_path / f"{name}.png")
    rows = [f"{name}.png,one two {name}" for name in ("wide", "tiny", "good", "fair")]
    (tmp_path / "captions.csv").write_text("\n".join(["image,text", *rows]))
    rules = CaptionFilter(enabled=True, rare_below=0, min_side=8)
    config = Data(source=str(tmp_path), image_size=8, validation_share=0.0, test_share=0.0, captions=rules)
    task = load_data(config, 0)
    assert task.train.columns["image"].shape[1:] == (8, 8, 3)
    assert task.train.columns["text"] == ["one two good", "one two fair"]
    assert any("2 small or long image (like “one two wide”)" in note for note in task.notes)


def test_a_filter_that_leaves_nothing_says_so():
    rules = CaptionFilter(enabled=True, min_words=19, max_words=20)
    with pytest.raises(DataError, match=r"0 of 50 pairs are left.*data.captions.enabled=false"):
        load_data(Data(source="scenes", limit=50, captions=rules), 0)


def test_noise_is_of_the_scenes_that_are_learnt_from():
    clean, spoilt = (
        load_data(Data(source="scenes", limit=50, noise=Noise(rare=share)), 0) for share in (0.0, 0.5)
    )
    assert clean.train.columns["text"] != spoilt.train.columns["text"]
    assert clean.test.columns["text"] == spoilt.test.columns["text"]


def test_options_of_other_systems_are_refused():
    """An option that a system does not read cannot be given to it."""
    run = recipes.smoke()
    assert override(run, ["data.noise.mismatched=0.5"]).data.noise == Noise(mismatched=0.5)
    with pytest.raises(ConfigError, match=r"unknown option 'data\.table\.targets'"):
        override(run, ["data.table.targets=x"])
    with pytest.raises(ConfigError, match=r"unknown option 'data\.captions\.enabled'"):
        override(api.recipe("matryoshka", "smoke"), ["data.captions.enabled=true"])
    with pytest.raises(ConfigError, match=r"unknown option 'data\.image_size'"):
        override(api.recipe("moduleformer", "smoke"), ["data.image_size=8"])
    with pytest.raises(ConfigError, match=r"unknown option 'data\.noise'"):
        run_from_dict(run_to_dict(api.recipe("matryoshka", "smoke")) | {"data": to_dict(run.data)})
