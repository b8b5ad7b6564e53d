"""Codes of documents: the loss and the inference by hand, torch's Adam, the same code in any batch, an index of codes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

import brickwork
from brickwork.core.config import ConfigError, from_dict
from brickwork.data.types import Document, Examples, TaskData
from brickwork.index.build import build_index
from brickwork.representation.contract import build_system
from brickwork.systems.binary_paragraph_vector.config import Config
from brickwork.systems.binary_paragraph_vector.encoder import descend
from brickwork.systems.binary_paragraph_vector.predictors import counted

TOPICS = (
    "the engine of the car needs oil and a new gear box for the road",
    "the goal keeper of the team held the ball before the final whistle",
    "add salt and pepper to the soup and cook the onion in butter",
)


def texts(count, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(TOPICS[i % 3].split(), size=rng.integers(5, 30))) for i in range(count)]


def task(count=60):
    parts = [Examples({"input": texts(n, seed)}) for seed, n in enumerate((count, 9, 9))]
    return TaskData(
        name="t", kind="texts", modality="text", train=parts[0], validation=parts[1], test=parts[2]
    )


def system(**options):
    config = Config(**{"bits": 16, "sizes": (8, 16), "vocabulary": 100, "min_count": 1, **options})
    return build_system("binary-paragraph-vector", config, task(), seed=0).eval()


def code(vectors):
    return (np.asarray(vectors) > 0).astype(int)


@pytest.mark.parametrize("real", [None, 12])
def test_the_loss_is_that_of_predicting_each_word_from_the_bits(real):
    model = system(real=real).train()
    batch = {**model.collate({"input": texts(5)}), "indices": [3, 0, 7, 59, 4]}
    terms = model.loss(batch).terms
    encoder, rows = model.encoder, model.documents.weight[[3, 0, 7, 59, 4]]
    bits = ((rows if real is None else rows @ encoder.to_bits) > 0).float()
    for place, size in enumerate((8, 16)):
        logits = bits[:, :size] @ encoder.predictor.words[place] + encoder.predictor.frequency[place]
        means = []
        for row, text in enumerate(texts(5)):
            words = text.split()
            ids = torch.tensor([encoder.vocabulary.ids[word] for word in words])
            own = stats.entropy([words.count(word) for word in set(words)])
            means.append(F.cross_entropy(logits[row].expand(len(ids), -1), ids) - own)
        torch.testing.assert_close(terms[f"bits_{size}"], torch.stack(means).mean())


def test_its_gradient_is_that_of_the_straight_through_estimator():
    """∂L/∂d = (p − x/n) Uᵀ ⊙ a(1 − a), a = σ(d); each document's mean over its words, over the batch."""
    model = system(sizes=(16,)).train()
    batch = {**model.collate({"input": texts(4)}), "indices": [0, 1, 2, 3]}
    model.loss(batch).total.backward()
    d, u = model.documents.weight.detach()[:4], model.encoder.predictor.words[0].detach()
    p = ((d > 0).float() @ u + model.encoder.predictor.frequency[0].detach()).softmax(1)
    x = counted(batch["input"], len(model.encoder.vocabulary))
    slope = (p - x / x.sum(1, keepdim=True)) @ u.T * torch.sigmoid(d) * (1 - torch.sigmoid(d)) / 4
    torch.testing.assert_close(model.documents.weight.grad[:4], slope)
    assert not model.documents.weight.grad[4:].any()


def test_numbers_of_documents_learn_faster_by_the_rate():
    words, documents = system(rate=7.0).param_groups(0.01, 0.1)
    assert (words["lr"], documents["lr"]) == (0.01, pytest.approx(0.07))
    assert documents["params"][0].shape == (60, 16)


def test_descent_is_adam():
    target = torch.randn(3, 5, dtype=torch.float64)
    start = torch.randn(3, 5, dtype=torch.float64)
    found = descend(lambda x: ((x - target) ** 4).sum(), start, 25)
    theirs = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([theirs], lr=0.1, eps=1e-12)
    for _ in range(25):
        optimiser.zero_grad()
        ((theirs - target) ** 4).sum().backward()
        optimiser.step()
    torch.testing.assert_close(found, theirs.detach())


@pytest.mark.parametrize("options", [{}, {"real": 12}, {"binariser": "noise"}, {"binariser": "stochastic"}])
def test_the_same_text_has_the_same_code_in_any_batch_and_mode(options):
    model = system(**options)
    several = texts(30, seed=5)
    together = model.encode(several)
    alone = np.stack([model.encode(text) for text in several])
    parts = np.concatenate([model.encode(several[:7]), model.encode(several[7:])])
    shuffled = model.encode(several[::-1])[::-1]
    other = build_system("binary-paragraph-vector", model.config, task(), seed=0).train()
    for vectors in (alone, parts, shuffled, other.encode(several)):
        assert (code(vectors)[:, :16] == code(together)[:, :16]).all()
        np.testing.assert_allclose(vectors, together, atol=1e-6)


def test_a_code_predicts_its_document_better_than_any_one_bit_away_most_of_the_time():
    """What inference is for: of all codes one bit away few are better (descent by single bits is no part of it)."""
    model = trained()
    held = texts(12, seed=9)
    tokens = model.encoder.tokenize(held)
    d = model.encoder.infer(tokens).float()

    def loss(numbers):
        return sum(model.encoder.losses(numbers, tokens).values())

    own = loss(d)
    better = torch.stack(
        [loss(torch.where(torch.arange(16) == bit, -d, d)) < own - 1e-6 for bit in range(16)]
    )
    assert float(better.float().mean()) < 0.2
    assert (own < loss(torch.randn(12, 16, generator=torch.Generator().manual_seed(0)))).float().mean() > 0.9


def trained(**options):
    model = system(**options).train()
    optimiser = torch.optim.Adam(model.param_groups(0.01, 0.0))
    data = task().train.columns["input"]
    batch = {**model.collate({"input": data}), "indices": list(range(60))}
    for _ in range(60):
        optimiser.zero_grad()
        model.loss(batch).total.backward()
        optimiser.step()
    return model.eval()


def test_documents_of_one_topic_have_near_codes():
    model = trained()
    bits = code(model.encode(texts(30, seed=7)))
    different = (bits[:, None] != bits[None]).mean(-1)
    same = np.arange(30)[:, None] % 3 == np.arange(30)[None] % 3
    assert different[same & ~np.eye(30, dtype=bool)].mean() < 0.5 * different[~same].mean()


def test_vectors_are_signs_of_length_1_and_prefixes_are_codes():
    model = system()
    vectors = model.encode(texts(4))
    assert np.unique(np.abs(vectors).round(6)).tolist() == [0.25]
    assert (code(model.encode(texts(4), dim=8)) == code(vectors)[:, :8]).all()
    np.testing.assert_allclose(np.abs(model.encode(texts(4), dim=8)), 8**-0.5, rtol=1e-6)


def test_real_vectors_stand_behind_the_code():
    model = system(real=12)
    vectors = model.encode(texts(6))
    assert vectors.shape == (6, 28)
    np.testing.assert_allclose((vectors**2).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose((vectors[:, :16] ** 2).sum(1), 0.05, rtol=1e-5)
    numbers = vectors[:, 16:] @ model.encoder.to_bits.detach().numpy()
    assert ((numbers > 0) == (vectors[:, :16] > 0)).all()
    assert model.representation().axes.dims == (8, 16, 28)


def test_a_text_without_a_known_word_has_no_direction():
    assert not system().encode(["", "zzz qqq"]).any()


def test_kept_and_loaded_it_gives_the_same_codes_and_no_documents(tmp_path):
    model = trained(real=12)
    model.representation().save(tmp_path / "m")
    again = brickwork.load(tmp_path / "m")
    np.testing.assert_array_equal(again.encode(texts(9, 3)), model.encode(texts(9, 3)))
    assert again.system.documents is None
    assert (tmp_path / "m" / "model.safetensors").stat().st_size < 60_000


def test_an_index_of_codes_alone_finds_by_equal_bits(tmp_path):
    model = trained()
    several = texts(60, 4)
    documents = [
        Document(id=f"d{i}", title="", text=text, source="s", meta={}) for i, text in enumerate(several)
    ]
    index = build_index(model.representation(), documents, tmp_path / "i", codec="bits")
    (name,) = index.backend.manifest.segments[0].vectors.values()
    assert (tmp_path / "i" / name).stat().st_size == 128 + 60 * 2
    query = texts(1, 11)[0]
    equal = (code(model.encode(several)) == code(model.encode(query))).mean(1)
    (hits,) = index.search(query, top=10, mode="dense")
    assert [hit.score for hit in hits] == pytest.approx(np.sort(2 * equal - 1)[::-1][:10].tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"noise": 2.0}, "noise"),
        ({"bits": 4}, "bits"),
        ({"sizes": (8, 12)}, "12"),
    ],
)
def test_options_that_do_not_fit(options, says):
    with pytest.raises(ConfigError, match=says):
        config = from_dict(Config, {"bits": 16, **options})
        assert config.nested == ()
