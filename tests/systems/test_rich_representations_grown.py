"""Grow the encoder, keep the index (docs/how-to/grow-the-encoder.md): a second seed of stationary-compat beside one."""

from dataclasses import replace

import numpy as np
import pytest

import brickwork
from brickwork.api import train as api
from brickwork.data.config import ImageDataConfig
from brickwork.data.load import load_task
from brickwork.data.types import Document, Examples
from brickwork.index.build import build_index
from brickwork.index.encoding import Query
from brickwork.representation.contract import build_system
from brickwork.systems.rich_representations.config import Config
from brickwork.systems.rich_representations.system import System
from brickwork.training.loop import fit

PAIRS = ((1, 2), (11, 12), (21, 22))
SHARES = (0.0, 0.5, 1.0)
DATA = ImageDataConfig(source="digits", limit=300)
GAINS = 1 / np.log2(np.arange(2, 12))


def trained(folder, seed, data):
    """A model of stationary-compat, as a folder."""
    run = replace(api.recipe("stationary-compat", "smoke"), seed=seed, data=DATA)
    system = build_system("stationary-compat", run.model, data, seed)
    train = replace(run.train, steps=40, batch_size=32, validate_every=0, save_every=0)
    fit(system, data.train, train, folder / "training", seed=seed)
    system.eval().representation().save(folder / "model")
    return str(folder / "model")


def grown(runs, data):
    """Both side by side; its blocks are weighed as at the end of a training."""
    system = build_system("rich-representations", Config(runs=runs), data, 0).eval()
    assert list(system.finish(data.train))
    return system


@pytest.fixture(scope="module")
def items():
    """Images that no model was trained on: 300 documents and 100 queries, each with its digit."""
    part = load_task(replace(DATA, limit=None), 0).train
    x, y = (np.asarray(part.columns[name]) for name in ("input", "label"))
    documents = [Document(id=str(n), title="", text="", source="digits", image=x[n]) for n in range(300, 600)]
    return documents, [Query(image=image) for image in x[900:1000]], y, y[900:1000]


def found(index, queries):
    return [[(hit.id, hit.score) for hit in hits] for hits in index.search(queries, top=10, mode="dense")]


def ndcg(results, labels, wanted):
    """nDCG@10 where what shows the same digit is relevant, of which there are more than ten."""
    right = [[labels[int(name)] == digit for name, _ in hits] for hits, digit in zip(results, wanted)]
    return float((np.array(right) * GAINS).sum(1).mean() / GAINS.sum())


def test_quality_rises_with_the_share_that_is_encoded_anew(tmp_path, items):
    """The mean over three pairs of seeds; a single pair may dip on the way."""
    documents, queries, labels, wanted = items
    scores = []
    for pair in PAIRS:
        place = tmp_path / str(pair[0])
        data = load_task(DATA, pair[0])
        runs = tuple(trained(place / f"seed{seed}", seed, data) for seed in pair)
        old, new = brickwork.load(runs[0]), grown(runs, data)
        images = np.stack([document.image for document in documents])
        for normalize in (True, False):  # bit for bit
            same = new.encode(images, normalize=normalize, dim=31)
            assert np.array_equal(same, old.encode(images, normalize=normalize))
        index = build_index(old, documents, place / "index", kind="flat")
        before = found(index, queries)
        index = brickwork.open_index(index.folder, new.representation())
        assert index.replace_model()
        after = found(index, queries)
        for one, other in zip(before, after):  # but for those that lie within a rounding of each other
            np.testing.assert_allclose([s for _, s in one], [s for _, s in other], atol=1e-6)
            for (name, score), (now, _) in zip(one, other):
                assert (
                    name == now or sum(abs(s - score) < 1e-6 for _, s in one) > 1 or (name, score) == one[-1]
                )
        at = [ndcg(after, labels, wanted)]
        for a, b in ((0, 150), (150, 300)):
            index.update(documents[a:b])
            at.append(ndcg(found(index, queries), labels, wanted))
        scores.append(at)
    mean = np.mean(scores, axis=0)
    assert (np.diff(mean) >= 0).all(), dict(zip(SHARES, mean))
    assert mean[-1] - mean[0] > 0.02


def test_members_that_are_fine_tuned_extend_nothing(tmp_path):
    """Their first dimensions are no longer those of the run that they come from."""
    data = load_task(DATA, 1)
    runs = (trained(tmp_path / "first", 1, data),)
    lineages = [
        build_system("rich-representations", Config(runs=runs, learn=learn), data, 0).lineage
        for learn in (None, "apart")
    ]
    assert lineages[0]["extends"] == [brickwork.load(runs[0]).fingerprint]
    assert "extends" not in lineages[1]
    assert lineages[1]["members"] == lineages[0]["members"]


def test_a_model_that_grew_grows_again_on_other_data(tmp_path, items):
    """The first dimensions are those of the model before, bit for bit, though the blocks are weighed on other images."""
    documents, _, _, _ = items
    data = load_task(DATA, 1)
    runs = tuple(trained(tmp_path / f"seed{seed}", seed, data) for seed in (1, 2, 3))
    before = grown(runs[:2], data)
    before.representation().save(tmp_path / "grown")
    dark = replace(
        data, train=Examples({**data.train.columns, "input": np.asarray(data.train.columns["input"]) // 8})
    )
    again = grown((str(tmp_path / "grown"), runs[2]), dark)
    assert again.representation().lineage["extends"][0] == before.representation().fingerprint
    weights = [float(scale) for scale in again.encoder.scales]
    assert weights[:2] == [float(scale) for scale in before.encoder.scales]
    assert weights[2] not in (0.0, 1.0)
    images = np.stack([document.image for document in documents])
    for normalize in (True, False):
        assert np.array_equal(
            again.encode(images, normalize=normalize, dim=62), before.encode(images, normalize=normalize)
        )


def test_going_on_from_a_model_that_grew(tmp_path):
    """Heads alone leave its dimensions as they are; members that are fine-tuned extend nothing any more."""
    data = load_task(DATA, 1)
    runs = tuple(trained(tmp_path / f"seed{seed}", seed, data) for seed in (1, 2))
    before = grown(runs, data)
    classes = [str(n) for n in range(data.num_classes)]
    heads = System.continued(before, Config(members=2, learn="heads"), seed=0, classes=classes)
    assert not list(heads.eval().finish(data.train.select(range(40))))
    assert heads.lineage == before.lineage
    tuned = System.continued(before, Config(members=2), seed=0, classes=classes)
    assert "extends" not in tuned.lineage
    assert "extends" in before.lineage
    assert tuned.lineage["members"] == before.lineage["members"]
