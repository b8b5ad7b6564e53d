"""docs/how-to/search-codes.md: search by 32 bits, closer by 128, the last by real numbers; prefixes are the codes."""

import numpy as np
import pytest

from brickwork.data.types import Document, Examples, TaskData
from brickwork.index.build import build_index
from brickwork.representation.contract import build_system
from brickwork.systems.binary_paragraph_vector.config import Config
from brickwork.training.config import TrainConfig
from brickwork.training.loop import fit

TOPICS, WORDS = 10, 300


def documents(count, seed):
    """A third of the words of each from one of ten topics."""
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(7).permuted(np.tile(np.arange(WORDS), (TOPICS, 1)), axis=1)[:, :25]
    for number in range(count):
        own = rng.random(40) < 0.35
        ids = np.where(own, rng.choice(topics[number % TOPICS], 40), rng.integers(0, WORDS, 40))
        yield " ".join(f"word{i}" for i in ids)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    parts = [Examples({"input": list(documents(count, seed))}) for seed, count in enumerate((600, 10, 10))]
    data = TaskData(
        name="t", kind="texts", modality="text", train=parts[0], validation=parts[1], test=parts[2]
    )
    config = Config(bits=128, real=32, vocabulary=WORDS, min_count=1)
    system = build_system("binary-paragraph-vector", config, data, seed=0)
    train = TrainConfig(
        steps=150, batch_size=100, learning_rate=2.5e-3, precision="fp32", weight_decay=0.0, validate_every=0
    )
    fit(system, data.train, train, tmp_path_factory.mktemp("run"), seed=0)
    return system.eval().representation()


def test_stages_find_what_the_exact_scan_finds(model, tmp_path):
    several = list(documents(1200, 5))
    index = build_index(
        model,
        [Document(id=f"d{i}", title="", text=t, source="s", meta={}) for i, t in enumerate(several)],
        tmp_path / "i",
    )
    queries = list(documents(40, 9))
    options = {"top": 10, "mode": "dense"}
    exact = index.answer(queries, **options)
    stages = index.answer(queries, **options, funnel=[(32, 200), (128, 100)])
    assert stages.stages == ((32, 200), (128, 100), (160, 10))
    assert stages.bytes_scanned == 4 * 1200 * 32 + 4 * 200 * 128 + 4 * 100 * 160  # 100 of 1,200 in full
    assert stages.bytes_scanned < 0.5 * exact.bytes_scanned

    def ndcg(answer):
        """Of the documents of a query's topic; all of the first ten could be."""
        weights = 1 / np.log2(np.arange(2, 12))
        right = [
            [int(hit.id[1:]) % TOPICS == q % TOPICS for hit in hits] for q, hits in enumerate(answer.hits)
        ]
        return float((np.array(right) @ weights).mean() / weights.sum())

    assert ndcg(exact) > 0.5
    assert ndcg(stages) >= 0.95 * ndcg(exact)


def test_the_first_word_of_a_code_is_the_short_code(model):
    several = list(documents(20, 3))
    whole = np.packbits(model.encode(several, dim=128) > 0, axis=1)
    short = np.packbits(model.encode(several, dim=32) > 0, axis=1)
    assert whole.shape == (20, 16)
    assert (whole[:, :4] == short).all()
    assert (whole[:, :4].copy().view(">u4") == short.copy().view(">u4")).all()


def test_an_index_of_bits_alone_goes_from_32_to_128(model, tmp_path):
    several = list(documents(300, 5))
    index = build_index(
        model,
        [Document(id=f"d{i}", title="", text=t, source="s", meta={}) for i, t in enumerate(several)],
        tmp_path / "i",
        dim=128,
        codec="bits",
    )
    answer = index.answer("word3 word4 word5", top=5, mode="dense", funnel=[(32, 300)])
    assert answer.stages == ((32, 300), (128, 5))
    assert answer.bytes_scanned == 300 * 4 + 300 * 16
    assert answer.hits[0] == index.answer("word3 word4 word5", top=5, mode="dense", plan=answer.plan).hits[0]
    codes = model.encode(several, dim=128) > 0
    equal = (codes == (model.encode("word3 word4 word5", dim=128) > 0)).mean(1)
    expected = np.sort(2 * equal - 1)[::-1][:5]
    assert [hit.score for hit in answer.hits[0]] == pytest.approx(expected.tolist(), abs=1e-6)
