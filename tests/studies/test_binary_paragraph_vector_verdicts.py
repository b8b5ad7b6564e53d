"""The claims of binary-paragraph-vector on known numbers, and its rivals on data whose answers are known."""

import numpy as np
import pytest
import torch
from known_lab import DISTURBANCES, verdict

from brickwork.data.vocabulary import Vocabulary
from brickwork.studies.binary_paragraph_vector import claims as study
from brickwork.studies.binary_paragraph_vector.measures import REAL, listed
from brickwork.studies.binary_paragraph_vector.rivals import Autoencoder, itq
from brickwork.systems.binary_paragraph_vector.measures import hyperplanes


def by_row(values, wobble=0.001):
    """A measure of all arms: each row's number for MAP and nDCG@10, which moves with the seed for the first row."""

    def measure(models, *args):
        (seed,) = {trained.seed for trained in models.values()}
        moved = {name: wobble * DISTURBANCES[seed] * (place == 0) for place, name in enumerate(values)}
        return {
            (row, "test-test", quality): value + moved[row]
            for row, value in values.items()
            for quality in ("map", "ndcg@10")
        }

    return measure


@pytest.mark.parametrize(
    ("paper", "modern", "result", "alone"),
    [
        (0.1, 0.1, "supported", False),
        (0.1, 0.3, "refuted", True),
        (0.18, 0.1, "refuted", False),
        (0.3, 0.3, "refuted", False),
    ],
)
def test_c1_needs_both_autoencoders_beaten(monkeypatch, paper, modern, result, alone):
    values = {"BPV 128": 0.2, "BPV 32": 0.15, "paper's autoencoder 128": paper}
    values |= {"modern autoencoder 128": modern, "modern autoencoder 32": modern}
    monkeypatch.setattr(study, "qualities", by_row(values))
    judged = verdict("binary-paragraph-vector", "C1")
    assert judged.verdict == result
    assert ("paper's rival alone" in judged.note) == alone
    assert judged.effect == pytest.approx(100 * (0.2 - paper))


@pytest.mark.parametrize(
    ("lsh", "itq_", "result"),
    [(0.1, 0.1, "supported"), (0.1, 0.3, "refuted"), (0.1, 0.2, "undecided")],
)
def test_c1b_above_lsh_and_itq(monkeypatch, lsh, itq_, result):
    values = {"BPV 32": 0.2, f"{REAL} + LSH 32": lsh, f"{REAL} + ITQ 32": itq_}
    monkeypatch.setattr(study, "qualities", by_row(values))
    assert verdict("binary-paragraph-vector", "C1b").verdict == result


@pytest.mark.parametrize(
    ("carried", "home", "lsh", "result"),
    [
        (0.2, 0.3, 0.1, "supported"),
        (0.14, 0.2, 0.1, "refuted"),
        (0.2, 0.5, 0.1, "refuted"),
        (0.2, 0.3, 0.25, "refuted"),
    ],
)
def test_c2_three_limits(monkeypatch, carried, home, lsh, result):
    values = {"carried over": carried, "at home": home, "TF-IDF + LSH": lsh, "random codes": 0.05}
    monkeypatch.setattr(study, "transfers", by_row(values))
    assert verdict("binary-paragraph-vector", "C2").verdict == result


@pytest.mark.parametrize(("kept", "result"), [(0.48, "supported"), (0.4, "refuted"), (0.4751, "undecided")])
def test_c3_short_list(monkeypatch, kept, result):
    def measure(models, share):
        assert share == 0.1
        moved = 0.001 * DISTURBANCES[models["joint"].seed]
        rows = {"joint": kept + moved, "apart": 0.45, "random list": 0.1}
        return {(row, "all"): 0.5 for row in rows} | {(row, "short list"): v for row, v in rows.items()}

    monkeypatch.setattr(study, "shortlists", measure)
    assert verdict("binary-paragraph-vector", "C3").verdict == result


@pytest.mark.parametrize(
    ("nested", "result"), [(0.195, "supported"), (0.18, "refuted"), (0.1901, "undecided")]
)
def test_c4_prefixes(monkeypatch, nested, result):
    values = {"nested, first 32": nested, "nested, first 128": 0.3, "BPV 32": 0.2, "BPV 128": 0.3}
    monkeypatch.setattr(study, "qualities", by_row(values))
    assert verdict("binary-paragraph-vector", "C4").verdict == result


@pytest.mark.parametrize(("dm", "result"), [(0.1, "supported"), (0.3, "refuted"), (0.2, "undecided")])
def test_c5_in_context(monkeypatch, dm, result):
    monkeypatch.setattr(study, "qualities", by_row({"PV-DBOW": 0.2, "PV-DM": dm}))
    assert verdict("binary-paragraph-vector", "C5").verdict == result


def test_a_short_list_has_the_nearest_by_bits():
    different = np.array([[3, 1, 2, 0, 1]])
    kept = listed(np.array([[0.1, 0.2, 0.3, 0.4, 0.5]], np.float32), different, 0.6, np.random.default_rng(0))
    np.testing.assert_allclose(kept, [[-2, 0.2, -2, 0.4, 0.5]], rtol=1e-6)


def test_rotated_bits_keep_more_than_random_ones():
    """ITQ on clusters: bits of one cluster agree more, and of two less, than those of hyperplanes."""
    rng = np.random.default_rng(0)
    centres, own = rng.standard_normal((8, 32)), np.arange(400) % 8
    vectors = (centres[own] + 0.7 * rng.standard_normal((400, 32))).astype(np.float32)

    def gap(bits):
        different = (bits[:, None] != bits[None]).mean(-1)
        same = own[:, None] == own[None]
        return different[~same].mean() - different[same].mean()

    assert gap(itq(vectors, vectors, 8)) > gap(hyperplanes(vectors, 8, 0)) + 0.05


@pytest.mark.parametrize("era", ["paper", "modern"])
def test_autoencoders_learn_their_documents(era):
    texts = ["a b c a b", "d e f d e", "g h i g"] * 4
    torch.manual_seed(0)
    model = Autoencoder(Vocabulary.from_texts(texts), 8, era).train()
    batch = model.collate({"input": texts})
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    first = model.loss(batch).total.item()
    for _ in range(150):
        optimiser.zero_grad()
        model.loss(batch).total.backward()
        optimiser.step()
    assert model.loss(batch).total.item() < 0.3 * first
    bits = model.eval().bits(texts[:3])
    assert len(np.unique(bits, axis=0)) == 3
    assert (model.bits(texts[3:6]) == bits).all()
