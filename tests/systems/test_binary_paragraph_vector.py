"""Codes of documents: the loss and the inference by hand, torch's Adam, the same code in any batch, an index of codes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import average_precision_score, ndcg_score

import brickwork
from brickwork.core.config import ConfigError, from_dict
from brickwork.core.errors import DataError
from brickwork.data.types import Document, Examples, TaskData
from brickwork.index.build import build_index
from brickwork.representation.contract import build_system
from brickwork.systems.binary_paragraph_vector.config import Config
from brickwork.systems.binary_paragraph_vector.drawing import halved
from brickwork.systems.binary_paragraph_vector.encoder import descend
from brickwork.systems.binary_paragraph_vector.measures import (
    by_chance,
    hamming,
    levels_of,
    quality,
    tf_idf,
)
from brickwork.systems.binary_paragraph_vector.predictors import Draw, counted

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


def test_words_in_context_are_those_of_a_softmax_over_all_words_beside_their_windows():
    """PV-DM by hand: where every word is drawn, the sampled softmax is the whole one (words drawn by frequency, so often
    that none is missing), over [bits; mean vector of the words around] at the middle of 32 equal parts of the document."""
    model = system(words="dm", window=2, width=6, negatives=4000, sizes=(16,))
    predictor, several = model.encoder.predictor, texts(3, 8)
    assert set(model.encoder.predictor.targets(model.encoder.tokenize(several)).drawn.tolist()) == set(
        range(len(model.encoder.vocabulary))
    )
    bits = (torch.randn(3, 16, generator=torch.Generator().manual_seed(1)) > 0).float()
    losses = predictor.losses(bits, predictor.targets(model.encoder.tokenize(several)))[16]
    for row, text in enumerate(several):
        ids = [model.encoder.vocabulary.ids[word] for word in text.split()]
        costs = []
        for part in range(32):
            at = int((part + 0.5) / 32 * len(ids))
            around = [ids[i] for i in range(max(at - 2, 0), min(at + 3, len(ids))) if i != at]
            hidden = torch.cat([bits[row], predictor.vectors[around].mean(0)])
            logits = hidden @ predictor.words[0] + predictor.frequency[0]
            # The correction for being drawn is the same ln 1 = 0 for all but words that 4,000 draws might miss.
            costs.append(F.cross_entropy(logits[None], torch.tensor([ids[at]])))
        torch.testing.assert_close(losses[row], torch.stack(costs).mean(), rtol=1e-4, atol=1e-5)


def test_positions_and_words_are_drawn_by_seed_step_and_row():
    model = system(words="dm", positions=7, negatives=20)
    predictor, tokens = model.encoder.predictor, model.encoder.tokenize(texts(6))

    def drawn(seed, step, rows):
        made = predictor.targets(tokens.select(rows), Draw(seed, step, np.array(rows)))
        return made.words, made.drawn

    rows = [4, 0, 5]
    words, negatives = drawn(0, 3, rows)
    assert words.shape == (3, 7)
    again, same = drawn(0, 3, rows[::-1])
    assert torch.equal(again.flip(0), words)
    assert torch.equal(same, negatives)
    for other in ((1, 3), (0, 4)):
        assert not torch.equal(drawn(*other, rows)[0], words)
        assert not torch.equal(drawn(*other, rows)[1], negatives)
    fixed = predictor.targets(tokens)
    assert torch.equal(fixed.words, predictor.targets(tokens).words)


def test_words_in_context_are_learnt():
    model = trained(words="dm", window=2, width=8, negatives=30)
    bits = code(model.encode(texts(30, seed=7)))
    different = (bits[:, None] != bits[None]).mean(-1)
    same = np.arange(30)[:, None] % 3 == np.arange(30)[None] % 3
    assert different[same & ~np.eye(30, dtype=bool)].mean() < 0.8 * different[~same].mean()


def test_without_a_binariser_vectors_are_real():
    model = trained(binariser="none")
    vectors = model.encode(texts(30, seed=7))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert len(np.unique(vectors.round(6))) > 200


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


@pytest.mark.parametrize(
    "options",
    [{}, {"real": 12}, {"binariser": "noise"}, {"binariser": "stochastic"}, {"words": "dm"}],
    ids=lambda options: " ".join(map(str, options.values())) or "plain",
)
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
    held = Examples({"input": texts(9, 3)})
    assert again.evaluate(held) == pytest.approx(model.evaluate(held))
    assert [one.title for one in again.draw(held)] == ["The codes"]
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


# ---- measures and pictures -------------------------------------------------------------------------------------------


def test_what_is_found_is_as_sorting_has_it_where_nothing_ties():
    """Average precision by scikit-learn, nDCG@10 by its own function, without ties."""
    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal((20, 20)).astype(np.float32), rng.integers(0, 3, 20)
    found = quality(levels_of(scores), labels)
    for row in range(20):
        others = np.arange(20) != row
        relevant = labels[others] == labels[row]
        assert found["map"][row] == pytest.approx(average_precision_score(relevant, scores[row, others]))
        expected = ndcg_score(relevant[None].astype(float), scores[row, others][None], k=10)
        assert found["ndcg@10"][row] == pytest.approx(expected)


def test_equally_near_documents_are_in_random_order():
    """The mean over shuffled databases of the average precision of a sort."""
    rng = np.random.default_rng(1)
    bits, labels = rng.random((12, 3)) < 0.5, rng.integers(0, 2, 12)
    levels = hamming(bits, bits)
    assert (levels == (bits[:, None] != bits[None]).sum(-1)).all()
    means = []
    for _ in range(4000):
        order = rng.permutation(12)
        order = order[order != 0]
        ranked = labels[order[np.argsort(levels[0, order], kind="stable")]] == labels[0]
        means.append((np.cumsum(ranked)[ranked] / (np.flatnonzero(ranked) + 1)).mean())
    assert quality(levels, labels)["map"][0] == pytest.approx(np.mean(means), abs=0.01)
    assert by_chance(labels) == pytest.approx(quality(np.zeros_like(levels), labels)["map"].mean())


def test_weights_of_words_are_scikit_learns():
    model = system()
    several = texts(9, 2)
    vectorizer = TfidfVectorizer(
        vocabulary=model.encoder.vocabulary.ids, sublinear_tf=True, token_pattern=r"\S+"
    ).fit(task().train.columns["input"])
    own = tf_idf(model.encoder.counts(several), model.encoder.vocabulary)
    np.testing.assert_allclose(own, vectorizer.transform(several).toarray(), atol=1e-6)


def test_evaluation_with_labels_without_and_of_nothing():
    model = trained()
    several = texts(30, 7)
    scores = model.evaluate(Examples({"input": several}))
    assert set(scores) == {"nats_per_word_8", "nats_per_word_16", "balance", "distinct"}
    labelled = Examples({"input": [*several, "zzz"], "label": [i % 3 for i in range(31)]})
    scores = model.evaluate(labelled)
    bits = code(model.encode(several)) > 0
    expected = quality(hamming(bits, bits), np.arange(30) % 3)["map"].mean()
    assert scores["map_16"] == pytest.approx(expected)
    assert scores["map_16"] > 2 * scores["map_random"]
    assert model.evaluate(Examples({"input": ["", "zzz"]})) == {}


def test_pictures():
    model = trained()
    several = texts(30, 7)
    (codes,) = model.draw(Examples({"input": several}))
    assert "halved three times" in codes.lead
    codes, found = model.draw(Examples({"input": several, "label": [i % 3 for i in range(30)]}))
    assert "by their labels" in codes.lead
    assert "exact scan" in found.svg
    assert model.draw(Examples({"input": ["zzz"]})) == []
    groups = halved(np.random.default_rng(0).random((33, 16)) < 0.5, 3)
    assert sorted(np.bincount(groups).tolist()) == [4] * 7 + [5]


def test_a_word_that_is_not_there_often_enough_names_the_option():
    with pytest.raises(DataError, match=r"no word is there 1000 times.*--set model\.min_count=1 takes all"):
        system(min_count=1000)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": 2}, "window has no effect with words=dbow"),
        ({"binariser": "none", "real": 12}, "real has no effect"),
        ({"sizes": (0, 16)}, "at least 1 bit"),
        ({"noise": 2.0}, "noise"),
        ({"bits": 4}, "bits"),
        ({"sizes": (8, 12)}, "12"),
    ],
)
def test_options_that_do_not_fit(options, says):
    with pytest.raises(ConfigError, match=says):
        config = from_dict(Config, {"bits": 16, **options})
        assert config.nested == ()
