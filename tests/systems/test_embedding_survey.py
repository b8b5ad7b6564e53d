"""embedding-survey: gradients of the losses, factorisations, topics, pooling, compression against what others give."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import brickwork
from brickwork.api import train as api
from brickwork.api.export import export_word_vectors
from brickwork.core.errors import ArtifactError, BrickworkWarning, ConfigError, DataError
from brickwork.data.vocabulary import Vocabulary
from brickwork.data.windows import Tokens, cooccurrence, ppmi
from brickwork.representation.subwords import SubwordVectors
from brickwork.representation.vectors import WordVectors
from brickwork.systems.embedding_survey import (
    alignment,
    compression,
    counting,
    found_topics,
    phrases,
    pooling,
    predicting,
    topics,
)
from brickwork.systems.embedding_survey.encoder import LONGEST, SHORTEST, Pooling, Table, WordsEncoder
from brickwork.systems.embedding_survey.measuring import Measured, class_precision, ranks_of

TEXTS = [
    "the cat sat on the mat",
    "the dog sat on the log",
    "a cat and a dog are animals",
    "stocks and bonds fell on the market",
    "the market for bonds fell",
    "animals eat on the farm and the cat eats fish",
]


def vocabulary():
    return Vocabulary.from_texts(TEXTS)


# ---- prediction


@pytest.mark.parametrize("cbow", [False, True], ids=["skip-gram", "cbow"])
@pytest.mark.parametrize("parts", [False, True], ids=["words", "parts"])
def test_a_step_follows_the_gradient(cbow, parts, monkeypatch):
    """Against autograd on the loss as the papers write it, pair by pair, with the drawn words of the step."""
    monkeypatch.setattr(predicting, "MOST", 1e9)
    words, generator = vocabulary(), torch.Generator().manual_seed(0)
    dim, buckets = 6, 40
    grams = predicting.Parts.of(words.entries, 3, 6, buckets) if parts else None
    table = torch.randn(len(words) + (buckets if parts else 0), dim, generator=generator)
    contexts = torch.randn(len(words), dim, generator=generator)
    tokens = Tokens.of(words, TEXTS)
    _, block = next(predicting.blocks(tokens, 3, np.ones(len(words)), seed=0, epoch=0))
    v, u = table.clone().double().requires_grad_(), contexts.clone().double().requires_grad_()
    predictor = predicting.Predictor(table, contexts, words, cbow=cbow, negatives=2, parts=grams)
    drawn = predictor.drawn.draw(block.words.numel(), torch.Generator().manual_seed(5)).view(
        -1, predicting.BLOCK
    )

    def vector(word):
        if grams is None:
            return v[word]
        rows, _ = grams.of_words(torch.tensor([word]))
        return v[rows].mean(0)

    loss, contexts_of = torch.zeros((), dtype=torch.float64), {}
    share = 2 / predicting.BLOCK
    for b, row, slot in block.pairs.nonzero().tolist():
        contexts_of.setdefault((b, row), []).append(int(block.around[b, slot]))
    for (b, row), others in contexts_of.items():
        own = int(block.words[b, row])
        if cbow:
            cases = [(torch.stack([vector(w) for w in others]).mean(0), own)]
        else:
            cases = [(vector(own), other) for other in others]
        for hidden, wanted in cases:
            loss = loss - F.logsigmoid(hidden @ u[wanted])
            for rival in drawn[b].tolist():
                if rival != wanted:
                    loss = loss - share * F.logsigmoid(-hidden @ u[rival])
    loss.backward()
    rate = 1e-3
    before = table.clone(), contexts.clone()
    predictor.step(block, rate, torch.Generator().manual_seed(5))
    torch.testing.assert_close((before[1] - contexts) / rate, u.grad.float(), rtol=1e-2, atol=2e-3)
    moved = (before[0] - table) / rate
    if not cbow and not parts:
        torch.testing.assert_close(moved, v.grad.float(), rtol=1e-2, atol=2e-3)
    else:  # as word2vec and fastText: the whole error goes to each word or part, not its share of the mean
        assert F.cosine_similarity(moved.flatten(), v.grad.float().flatten(), dim=0) > 0.8
        assert ((moved != 0) == (v.grad != 0)).all()


def test_windows_hold_neighbours_of_the_same_text_alone():
    """Brute force over all pairs of places."""
    words = vocabulary()
    tokens = Tokens.of(words, TEXTS)
    text = np.repeat(np.arange(len(TEXTS)), np.diff(tokens.ends, prepend=0))
    read, block = next(predicting.blocks(tokens, 2, np.ones(len(words)), seed=1, epoch=0))
    assert read == len(tokens)
    flat = block.words.reshape(-1)[: len(tokens)]
    assert flat.tolist() == tokens.ids.tolist()
    for place in range(block.words.numel()):
        b, row = divmod(place, predicting.BLOCK)
        slots = block.pairs[b, row].nonzero().flatten().tolist()
        offsets = [slot - row - 2 for slot in slots]
        if place >= len(tokens):
            assert not offsets
            continue
        reach = max(map(abs, offsets), default=0)
        wanted = [
            o
            for o in range(-reach, reach + 1)
            if o and 0 <= place + o < len(tokens) and text[place + o] == text[place]
        ]
        assert offsets == wanted
        assert reach <= 2
        assert [int(block.around[b, s]) for s in slots] == [int(tokens.ids[place + o]) for o in offsets]


def test_vectors_of_unseen_words_are_those_of_fasttext():
    """The mean of n-gram rows, as representation.subwords, which is checked with fastText, has it."""
    words, grams = vocabulary(), 50
    table = Table(len(words), grams, 8, False)
    table.rows.copy_(torch.randn(table.rows.shape, generator=torch.Generator().manual_seed(0)))
    encoder = WordsEncoder(words, table, Pooling(len(words), 8, 0))
    own = SubwordVectors(words.entries, words.counts, table.rows.numpy(), SHORTEST, LONGEST)
    found = encoder(encoder.tokenize(["catlike", "cat", "catlike doglike", ""]), [1])[1]
    np.testing.assert_allclose(found[0], own["catlike"], atol=1e-5)
    np.testing.assert_allclose(found[1], table.rows[words.ids["cat"]], atol=1e-6)
    np.testing.assert_allclose(found[2], (own["catlike"] + own["doglike"]) / 2, atol=1e-5)
    assert not found[3].any()
    assert predicting.Parts.of(("where",), 3, 3, 10**9).ends.tolist() == [
        6
    ]  # <wh whe her ere re> and the word


def test_phrases_are_pairs_above_chance():
    """The score of the paper, counted by hand; in the second pass a phrase of three words."""
    texts = [f"we saw new york city {i % 3} there" for i in range(12)] + ["a new city", "york is old"] * 2
    texts += [f"x{i} y{(3 * i + k) % 7} z{k}" for i in range(7) for k in range(7)] * 30
    frequent = {w: n for w, n in Counter(" ".join(texts).split()).items() if n > 5}
    total = sum(frequent.values())
    wanted = {
        (a, b)
        for (a, b), n in Counter(p for text in texts for p in pairwise(text.split())).items()
        if n > 5 and (n - 5) * total / (frequent[a] * frequent[b]) > phrases.THRESHOLD
    }
    first, second = phrases.learn(texts)
    assert set(first) == wanted
    assert {("we", "saw"), ("new", "york")} <= wanted
    assert not any(word.startswith("x") for pair in wanted for word in pair)
    assert phrases.joined([first])("We saw New York!") == ["we_saw", "new_york"]
    assert phrases.joined([[("a", "b"), ("b", "c")]])("a b c b c") == ["a_b", "c", "b_c"]
    assert max(word.count("_") for word in phrases.joined([first, second])("we saw new york city")) >= 2


# ---- counts


def test_glove_gradient_is_that_of_its_loss():
    """Against autograd."""
    words = vocabulary()
    counts = cooccurrence(Tokens.of(words, TEXTS), 3, len(words))
    weights = torch.randn(2, len(words), 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    glove = counting.Glove(weights, torch.ones(2, len(words), 5), counts)
    pairs = torch.arange(len(glove.rows))
    (wanted,) = torch.autograd.grad(glove.loss(pairs), weights)
    found = torch.zeros_like(weights)
    for side, (row, slope) in enumerate(zip((glove.rows, glove.columns), glove.gradient(pairs))):
        found[side].index_add_(0, row, slope.detach())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_glove_approaches_the_logarithms_of_counts():
    words = vocabulary()
    counts = cooccurrence(Tokens.of(words, TEXTS * 30), 3, len(words))
    weights, squares = torch.zeros(2, len(words), 13), torch.zeros(2, len(words), 13)
    counting.Glove.start(weights, squares, 0)
    glove = counting.Glove(weights, squares, counts)
    every = torch.arange(len(glove.rows))
    before = float(glove.loss(every))
    for sweep in range(150):
        glove.sweep(0.1, 0, sweep)
    assert float(glove.loss(every)) < 0.02 * before


def test_ppmi_svd_is_numpys():
    words = vocabulary()
    mutual = ppmi(cooccurrence(Tokens.of(words, TEXTS), 3, len(words)))
    found = counting.ppmi_svd(mutual, 5, 0)
    u, values, _ = np.linalg.svd(mutual.toarray())
    wanted = u[:, :5] * np.sqrt(values[:5])
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=1e-4)


def test_texts_of_latent_semantic_analysis_are_scikit_learns():
    """TfidfVectorizer and TruncatedSVD (ARPACK) of scikit-learn on the same tokens, in cosines."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = vocabulary()
    vectors, values = counting.lsa(words.bags(TEXTS), words.idf(), 3, 0)
    table = Table(len(words), 0, 3, False)
    table.rows.copy_(torch.from_numpy(vectors))
    pool = Pooling(len(words), 3, 0)
    pool.weights.copy_(torch.from_numpy(pooling.weights("tfidf", words, 6.0)))
    encoder = WordsEncoder(words, table, pool)
    ours = normalize(encoder(encoder.tokenize(TEXTS), [1])[1].numpy())
    tfidf = TfidfVectorizer(tokenizer=words.tokenize, token_pattern=None, lowercase=False).fit_transform(
        TEXTS
    )
    model = TruncatedSVD(3, algorithm="arpack", random_state=0)
    theirs = normalize(model.fit_transform(tfidf))
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-5)
    np.testing.assert_allclose(values, model.singular_values_, atol=1e-6)


# ---- topics


def test_fold_in_is_the_most_likely_mixture():
    """Against scipy's optimiser on the likelihood with the prior's term."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    words = torch.from_numpy(rng.dirichlet(np.ones(20), 3).T.copy())
    ids = torch.from_numpy(rng.integers(0, 20, 40))
    alpha = 0.3
    found = topics.fold_in(ids, torch.zeros(40, dtype=torch.int64), 1, words, alpha)[0].numpy()

    def loss(x):
        theta = np.exp(x) / np.exp(x).sum()
        return -np.log(words[ids].numpy() @ theta).sum() - alpha * np.log(theta).sum()

    best = minimize(loss, np.zeros(3)).x
    np.testing.assert_allclose(found, np.exp(best) / np.exp(best).sum(), atol=2e-3)


def test_gibbs_finds_planted_topics_and_keeps_its_counts():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 2, 60)
    ids = np.concatenate([rng.integers(0, 10, 30) + 10 * kind for kind in kinds])
    ends = np.arange(1, 61) * 30
    phi = topics.gibbs(ids, ends, 20, 2, 40, 0)
    np.testing.assert_allclose(phi.sum(1), 1, atol=1e-9)
    halves = phi[:, :10].sum(1)
    assert {round(float(half)) for half in halves} == {0, 1}
    assert abs(halves - 0.5).min() > 0.45


def test_words_of_clusters_are_those_of_their_formula():
    """tf_{w,c} ln(1 + A/f_w) written out, on two groups of texts that any clustering tells apart."""
    words = vocabulary()
    vectors = np.repeat(np.eye(2), 3, axis=0)[[0, 1, 2, 3, 4, 0]] + 0.01
    texts = TEXTS * 6
    bags = words.bags(texts)
    found = found_topics.of_clusters(np.tile(vectors, (6, 1)), bags, words.entries, 0)
    assert [topic.share for topic in found] == [pytest.approx(4 / 6), pytest.approx(2 / 6)]
    money = [t for i, t in enumerate(texts) if i % 6 in (3, 4)]
    counts = {w: sum(t.split().count(w) for t in money) for w in words.entries}
    total = {w: sum(t.split().count(w) for t in texts) for w in words.entries}
    mean = sum(total.values()) / 2
    score = {w: counts[w] / sum(counts.values()) * np.log(1 + mean / total[w]) for w in words.entries}
    wanted = sorted(score.values(), reverse=True)[:10]
    assert [score[w] for w in found[1].words] == pytest.approx(wanted)


# ---- pooling


def test_sif_takes_out_the_direction_that_texts_share():
    """By scikit-learn's TruncatedSVD, as in the published code of the paper."""
    from sklearn.decomposition import TruncatedSVD

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 8)) + 2 * rng.normal(size=8)
    found, shares = pooling.directions("sif", vectors)
    first = TruncatedSVD(1, algorithm="arpack").fit(vectors).components_
    assert abs(float((found @ first.T)[0, 0])) == pytest.approx(1, abs=1e-6)
    assert shares.tolist() == [1]
    words = vocabulary()
    weights = pooling.weights("sif", words, 6.0)
    share = words.counts[words.ids["the"]] / words.counts.sum()
    assert weights[words.ids["the"]] == pytest.approx(1e-3 / (1e-3 + share))
    removed, five = pooling.directions("usif", vectors)
    values = np.linalg.svd(vectors)[1]
    np.testing.assert_allclose(five, values[:5] ** 2 / (values[:5] ** 2).sum(), atol=1e-6)
    assert removed.shape == (5, 8)


def test_all_but_the_top_leaves_the_other_principal_components():
    from sklearn.decomposition import PCA

    x = np.random.default_rng(0).normal(size=(40, 6)) * np.arange(1, 7)
    found = pooling.all_but_the_top(x, 2)
    model = PCA(6).fit(x)
    scores = model.transform(x)
    np.testing.assert_allclose(found, scores[:, 2:] @ model.components_[2:], atol=1e-8)


# ---- alignment, compression, measures


def test_procrustes_is_scipys_and_recovers_a_rotation():
    from scipy.linalg import orthogonal_procrustes
    from scipy.stats import ortho_group

    rng = np.random.default_rng(0)
    x, turn = rng.normal(size=(30, 6)), ortho_group.rvs(6, random_state=0)
    np.testing.assert_allclose(alignment.procrustes(x, x @ turn.T), turn, atol=1e-6)
    y = rng.normal(size=(30, 6))
    np.testing.assert_allclose(alignment.procrustes(x, y), orthogonal_procrustes(x, y)[0].T, atol=1e-8)


def test_csls_takes_a_hub_away():
    """Each query is its own axis and a common one, which is a target as well and nearest to all of them."""
    axes = np.eye(5)
    queries = axes[:4] + 1.2 * axes[4]
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    wanted = np.arange(4)
    assert alignment.hits(queries @ axes.T, wanted).sum() == 0
    assert alignment.hits(alignment.csls(queries, axes, k=2), wanted).sum() == 4


def test_fewer_bytes_are_further_away():
    x = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float32)
    results = {name: compress(x) for name, compress in compression.COMPRESSIONS.items()}
    errors = {name: float(((made - x) ** 2).sum()) for name, (made, _) in results.items()}
    assert results["float"][1:] == (64.0,)
    assert results["int8"][1] == 16
    assert results["sign bits"][1] == 2
    step = (x.max(0) - x.min(0)) / 255
    assert (np.abs(results["int8"][0] - x) <= step / 2 + 1e-6).all()
    by_blocks = [float(((compression.product_quantised(x, m)[0] - x) ** 2).sum()) for m in (1, 2, 4, 8)]
    assert by_blocks == sorted(by_blocks, reverse=True)
    assert 0 == errors["float"] < errors["int8"] < errors["product quantiser, D/2 parts"]
    kept = compression.kept_neighbours(x, results["int8"][0]).mean()
    assert kept > 0.9 > compression.kept_neighbours(x, results["sign bits"][0]).mean()


def test_intervals_are_those_of_resampled_rows():
    """The rank correlation of all rows is scipy's; of resamples its interval is near Fisher's."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = x + rng.normal(size=400)
    one = Measured(x, y)
    rho = spearmanr(x, y).statistic
    assert one.estimate == pytest.approx(rho, abs=1e-9)
    low, high = np.quantile(one.resampled(), [0.025, 0.975])
    fisher = np.tanh(np.arctanh(rho) + np.array([-1, 1]) * 1.96 * np.sqrt((1 + rho**2 / 2) / 397))
    np.testing.assert_allclose([low, high], fisher, atol=0.03)
    assert ranks_of(np.array([[1.0, 2.0], [0.0, 0.0]])).tolist() == [1.0, 0.5]


def test_precision_of_classes_is_scikit_learns():
    """Where no two are equally near, average_precision_score of scikit-learn, row by row."""
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(30, 30)), rng.integers(0, 3, 30)
    np.fill_diagonal(scores, -np.inf)
    found = class_precision(scores, labels)
    for row in range(30):
        others = np.arange(30) != row
        wanted = average_precision_score(labels[others] == labels[row], scores[row, others])
        assert found[row] == pytest.approx(wanted)
    shares = [(labels == label).sum() - 1 for label in labels]
    chance = class_precision(np.where(np.eye(30) == 1, -np.inf, 0.0), labels)
    assert (
        chance > np.array(shares) / 29
    ).all()  # of a random order it is a little more than the share of the class


# ---- as a user


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "texts.csv"
    rows = [f"{text} {i}" for i in range(12) for text in TEXTS]
    labels = ["animals", "animals", "animals", "money", "money", "animals"] * 12
    path.write_text("text,label\n" + "\n".join(f"{t},{label}" for t, label in zip(rows, labels)) + "\n")
    return path


def _run(table, *options):
    run = api.recipe("embedding-survey", "small")
    given = [f"data.source={table}", "model.dimensions=6", "model.min_count=2", *options]
    return brickwork.override(run, given)


def test_words_are_exported_and_read_by_all_that_read_word2vec(table, tmp_path):
    summary = brickwork.train(_run(table, "model.method=ppmi-svd"), tmp_path / "run", measure=False)
    for name in ("words.vec", "words.bin"):
        again = WordVectors.read(export_word_vectors(tmp_path / "run", tmp_path / name))
        np.testing.assert_array_equal(again.matrix, summary.system.word_vectors().matrix)
    with pytest.raises(ConfigError, match="folder"):
        export_word_vectors(tmp_path / "run", tmp_path)
    answers = brickwork.load(tmp_path / "run").predict({"input": ["bonds fell", "cat"]})
    assert answers["label"] == ["money", "animals"]
    assert "cat" not in answers["nearest"][1].split(", ")


def test_phrases_are_words_of_a_trained_model(tmp_path):
    """They are found again in new texts by the model that was saved."""
    texts = [f"new york x{i} y{(3 * i + k) % 6} z{k}" for i in range(6) for k in range(6)]
    texts += [f"a{i} b{(5 * i + k) % 40} c{k}" for i in range(40) for k in range(40)]
    path = tmp_path / "texts.csv"
    path.write_text("text\n" + "\n".join(f"{text} {n % 30}" for n, text in enumerate(texts)) + "\n")
    options = ("model.method=ppmi-svd", "model.phrases=true", "data.validation_share=0.02")
    brickwork.train(_run(path, *options), tmp_path / "run", measure=False)
    model = brickwork.load(tmp_path / "run")
    vector = model.word_vectors()["new_york"]
    np.testing.assert_allclose(model.encode("In New York"), vector / np.linalg.norm(vector), atol=1e-5)


def test_an_interrupted_training_goes_on_to_the_same_bits(table, tmp_path):
    run = _run(table, "model.method=fasttext", "model.epochs=3", "model.buckets=50")
    system, data = api.build(run)
    whole = list(system.fit(data.train, start=0))
    other, _ = api.build(run)
    rounds = other.fit(data.train, start=0)
    next(rounds)
    third, _ = api.build(run)
    third.load_state_dict(other.state_dict())
    assert list(third.fit(data.train, start=1)) == whole[1:]
    assert all(torch.equal(v, third.state_dict()[n]) for n, v in system.state_dict().items())


def test_vectors_are_turned_onto_those_of_a_file(table, tmp_path):
    """A rotation of the same vectors is undone: every word finds itself."""
    run = _run(table, "model.method=ppmi-svd")
    first = brickwork.train(run, tmp_path / "first", measure=False).system.word_vectors()
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0].astype(np.float32)
    named = [f"x{word}" for word in first.words]
    WordVectors(tuple(named), first.matrix @ turn).write(tmp_path / "other.vec")
    (tmp_path / "pairs.csv").write_text("here,there\n" + "\n".join(f"{w},x{w}" for w in first.words) + "\n")
    target = [f"model.target={tmp_path / 'other.vec'}", f"data.dictionary={tmp_path / 'pairs.csv'}"]
    summary = brickwork.train(_run(table, "model.method=ppmi-svd", *target), tmp_path / "second")
    # Not all: words that stand in the same places have the same vectors.
    assert summary.scores["translated_by_cosine"] > 0.5
    there = alignment.centred(first.matrix @ turn)
    np.testing.assert_allclose(summary.system.word_vectors().matrix, there, atol=1e-3)
    with pytest.raises(ConfigError, match=r"model\.dimensions=6"):
        brickwork.train(_run(table, "model.dimensions=5", *target), tmp_path / "third")
    with pytest.raises(DataError, match=r"data\.dictionary"):
        brickwork.train(_run(table, target[0]), tmp_path / "fourth")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (("model.method=lsa", "model.window=3"), ConfigError, "window"),
        (("model.method=lsa", "model.dimensions=500"), ConfigError, "dimensions=500"),
        (("model.method=nmf", "model.dimensions=500"), ConfigError, "use at most"),
        (("model.remove_top=6",), ConfigError, "remove_top=6 of 6 dimensions"),
        (("model.min_count=1000",), DataError, "min_count"),
        (("model.debias=hard",), ConfigError, "data.word_lists"),
        (("data.dictionary=missing.csv",), DataError, "missing.csv"),
        (("model.target=missing.vec",), DataError, "missing.vec"),
        (("model.method=compare", "model.epochs=3"), ConfigError, "epochs"),
    ],
)
def test_what_cannot_be_is_told(table, tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        brickwork.train(_run(table, *options), tmp_path / "run")


def test_a_text_without_a_known_word_has_no_label(table, tmp_path):
    summary = brickwork.train(_run(table, "model.method=ppmi-svd"), tmp_path / "run", measure=False)
    with pytest.warns(BrickworkWarning, match="1 of 2 texts have no known word"):
        answers = summary.system.predict({"input": ["zzzqqq", "bonds fell"]})
    assert answers["label"] == ["", "money"]


def test_one_word_is_no_vocabulary(tmp_path):
    path = tmp_path / "three.csv"
    path.write_text("text\nthe cat\nthe dog\nthe bird\nthe bee\nthe fly\nthe ant\nthe cow\nthe ox\n")
    with pytest.raises(ConfigError, match="one word is there 2 times"):
        brickwork.train(_run(path, "model.dimensions=2", "data.validation_share=0.2"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_texts_alone_are_nothing_to_compare_by(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for number, text in enumerate(TEXTS * 2):
        (folder / f"{number}.txt").write_text(f"{text} {number}")
    with pytest.raises(DataError, match="labels"):
        brickwork.train(_run(folder, "model.method=compare"), tmp_path / "run")


def test_a_model_without_words_has_none_to_export(tmp_path):
    run = api.recipe("matryoshka", "smoke")
    run = brickwork.override(run, ["train.steps=1"])
    brickwork.train(run, tmp_path / "run", measure=False)
    with pytest.raises(
        ArtifactError, match=r"cannot export vectors of words; systems that can: disamb.*, embedding-survey"
    ):
        export_word_vectors(tmp_path / "run", tmp_path / "words.vec")
