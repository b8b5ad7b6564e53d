"""The known sets: sizes and facts that their README files and papers state; digits against scikit-learn."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from brickwork.core.errors import DataError
from brickwork.data.config import DataConfig
from brickwork.data.load import load_task, read_documents
from brickwork.data.sets.images import class_names, load_images
from brickwork.data.sets.sources import catalogue


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def load(name, **options):
    return load_task(DataConfig(source=name, **options), 0)


def test_digits_are_those_of_scikit_learn():
    task = load("digits")
    truth = load_digits()
    assert (task.kind, task.modality, task.num_classes) == ("labelled", "image", 10)
    parts = (task.train, task.validation, task.test)
    assert [len(part) for part in parts] == [1527, 90, 180]
    images = np.concatenate([part.columns["input"] for part in parts])
    labels = np.concatenate([part.columns["label"] for part in parts])
    assert images.shape == (1797, 8, 8, 1)
    assert images.dtype == np.uint8
    ours = sorted(zip(map(bytes, images), labels.tolist()))
    theirs = sorted(
        zip(map(bytes, np.round(truth.images * 255 / 16).astype(np.uint8)), truth.target.tolist())
    )
    assert ours == theirs
    assert load("digits", limit=50).train.columns["input"].shape[1:] == (8, 8, 1)


def test_toy_pairs_are_split_and_answerable():
    task = load("toy", limit=100)
    assert [len(part) for part in (task.train, task.validation, task.test)] == [85, 5, 10]
    assert len(task.retrieval["toy"].queries) == 10
    assert len(list(read_documents("toy", limit=7))) == 7


def test_mnist(data_folder):
    task = load("mnist")
    assert np.bincount(task.test.columns["label"]).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert len(task.train) + len(task.validation) == 60_000
    assert len(task.validation) == 2000
    images = load_images("mnist", "train").columns["input"]
    assert images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_cifar10_and_tiny_imagenet_prefixes(data_folder):
    task = load("cifar10", limit=100)
    assert task.class_names[0] == "airplane"
    assert task.class_names[9] == "truck"
    assert task.train.columns["input"].shape[1:] == (32, 32, 3)
    assert len(task.test) == 100
    task = load("tiny_imagenet100", limit=60)
    assert (task.num_classes, len(task.test)) == (100, 60)
    novel = load_images("tiny_imagenet100", "novel", 80)
    assert novel.columns["input"].shape == (80, 64, 64, 3)
    row = pq.read_table(data_folder / "tiny_imagenet100/novel.parquet").slice(5, 1).to_pylist()[0]
    decoded = np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB"))
    assert np.array_equal(novel.columns["input"][5], decoded)
    assert novel.columns["label"][5] == row["label"]
    assert class_names("tiny_imagenet100", "novel")[row["label"]] == row["class_words"]
    assert not set(class_names("tiny_imagenet100", "novel")) & set(class_names("tiny_imagenet100", "train"))


def test_omniglot_parts_share_no_novel_class_and_no_drawer(data_folder):
    """242 characters by 20 drawers, 59 of them of the two novel alphabets (the README of the set)."""
    task = load("omniglot_small")
    novel = load_images("omniglot_small", "novel")
    assert (task.num_classes, len(task.test), len(novel)) == (183, 183 * 5, 59 * 20)
    assert len(task.train) + len(task.validation) == 183 * 15
    assert task.train.columns["input"].shape[1:] == (35, 35, 1)
    assert np.bincount(task.test.columns["label"]).tolist() == [5] * 183
    names = class_names("omniglot_small", "novel")
    assert {name.split()[0] for name in names} == {"Sanskrit", "Tagalog"}
    assert not set(names) & set(task.class_names)
    with np.load(data_folder / "omniglot_small/omniglot_small.npz", allow_pickle=False) as file:
        alphabet = [str(file["alphabet_names"][a]) for a in file["alphabet_id"]]
        first = next(row for row, name in enumerate(alphabet) if name in ("Sanskrit", "Tagalog"))
        assert np.array_equal(novel.columns["input"][0][..., 0], file["images"][first])


def test_wrong_part_or_set_of_images():
    with pytest.raises(DataError, match="mnist has no part 'novel'; its parts are: train, test"):
        load_images("mnist", "novel")
    with pytest.raises(DataError, match="'vaswani' is no set of labelled images"):
        load_images("vaswani", "train")
    with pytest.raises(DataError, match="holds images; documents are texts"):
        list(read_documents("digits"))


def test_sts_benchmark(data_folder):
    task = load("sts_benchmark")
    assert [len(part) for part in (task.train, task.validation, task.test)] == [5749, 1500, 1379]
    assert task.kind == "scored"
    assert (min(task.test.columns["score"]), max(task.test.columns["score"])) == (0.0, 1.0)
    assert task.train.take([0])["anchor"] == ["A plane is taking off."]
    assert len(load("sts_benchmark", limit=50).validation) == 50


def test_snli_triplets(data_folder):
    task = load("nli_snli")
    assert task.kind == "triplets"
    assert len(task.train) + len(task.validation) == 2943
    assert len(task.test) == 2921
    results = task.retrieval["nli_snli"]
    assert set(task.test.columns["negative"]) <= set(results.documents)
    assert not set(task.train.columns["anchor"]) & set(task.test.columns["anchor"])


def test_retrieval_collections(data_folder):
    results = load("nfcorpus").retrieval["nfcorpus"]
    assert (len(results.queries), len(results.documents)) == (348, 3395)
    assert {gain for relevant in results.relevant for gain in relevant.values()} == {1, 2}
    task = load("vaswani")
    results = task.retrieval["vaswani"]
    assert (len(results.queries), len(results.documents)) == (93, 11429)
    assert sum(map(len, results.relevant)) == 2083
    assert not set(results.queries) & set(task.train.columns["anchor"])
    assert next(read_documents("vaswani")).text == results.documents[0]


def test_news(data_folder):
    task = load("ag_news")
    assert len(task.train) + len(task.validation) == 6000
    assert len(task.test) <= 1600
    for column in ("anchor", "positive"):
        assert not set(task.train.columns[column]) & set(task.test.columns[column])
    task = load("newsgroups20", limit=500)
    assert (task.num_classes, task.class_names[3]) == (20, "comp.sys.ibm.pc.hardware")
    # The file is sorted by group: a limit must still take from everywhere.
    assert len(set(task.train.columns["label"])) == 20


def test_every_folder_of_the_shared_data_is_listed(data_folder):
    listed = {file.partition("/")[0] for entry in catalogue() for file in entry.files}
    assert listed == {path.name for path in data_folder.iterdir() if path.is_dir()}
    files = {file for entry in catalogue() for file in entry.files}
    there = {
        path.relative_to(data_folder).as_posix()
        for path in data_folder.rglob("*")
        if path.is_file() and path.suffix != ".md"
    }
    assert files == there
