"""Text2Token: key words, targets, stages, words and reasons of vectors, the metrics of its basis."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import brickwork
from brickwork.api import train as api
from brickwork.core.errors import ConfigError, DataError
from brickwork.data.config import DataConfig
from brickwork.data.load import load_task
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.config import TextEncoderConfig
from brickwork.objectives.distillation import Sparse
from brickwork.representation.contract import build_system
from brickwork.systems.text2token.alignment import alignment, share_on_first, whitened, without_first
from brickwork.systems.text2token.config import Config, Filter, stages_of
from brickwork.systems.text2token.data import load_data
from brickwork.systems.text2token.keywords import KeyWords, padded, related
from brickwork.systems.text2token.recipes import smoke
from brickwork.systems.text2token.system import mixed

TEXTS = [
    "the cat sat on the red mat",
    "the dog sat on the log 42",
    "the cat and the dog ran",
    "red cat red dog a",
    "the log was red",
]
ALL = Filter(most_documents=0.7, fewest_documents=2, frequent=1)


def run(steps=60, **model):
    run = smoke()
    train = replace(run.train, steps=steps, batch_size=16, validate_every=0)
    return replace(
        run, model=replace(run.model, **model), data=DataConfig(source="toy", limit=200), train=train
    )


@pytest.fixture(scope="module")
def data():
    return load_task(run().data, 0)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    return api.train(run(), tmp_path_factory.mktemp("run") / "words", measure=False).system


def built(data, seed=0, **model):
    return build_system("text2token", run(**model).model, data, seed)


def batch_of(system, data, rows=8, **more):
    rows = range(rows)
    return {**system.collate(data.train.take(rows)), "step": 0, "indices": list(rows), **more}


# ---- key words and targets -------------------------------------------------------------------------------------------


def test_key_words_are_neither_frequent_nor_rare_nor_numbers():
    """By hand: 'the' is the most frequent word; 'sat', 'on', 'log' and 'red' … are in two texts or more; 42 is a number."""
    words = KeyWords.from_texts([*TEXTS, TEXTS[0]], 100, ALL)
    assert words.num_texts == 5  # the repeated text counts once
    assert dict(zip(words.words, words.documents.tolist())) == {
        "red": 3, "cat": 3, "dog": 3, "log": 2, "on": 2, "sat": 2,
    }  # fmt: skip
    everything = KeyWords.from_texts(TEXTS, 100, None)
    assert {"the", "42", "a"} <= set(everything.words)
    assert everything.idf.tolist() == [1.0] * len(everything)


def test_a_target_weighs_words_by_frequency_and_rarity():
    """(1 + ln tf) · ln(N/df), worked out by hand for 'red cat red dog a'."""
    words = KeyWords.from_texts(TEXTS, 100, ALL)
    places, probs = words.present(TEXTS[3], 64)
    rare = math.log(5 / 3)
    weights = {"red": (1 + math.log(2)) * rare, "cat": rare, "dog": rare}
    found = {words.words[p]: q for p, q in zip(places, probs)}
    total = sum(weights.values())
    assert found == pytest.approx({word: weight / total for word, weight in weights.items()})
    first, share = words.present(TEXTS[3], 1)
    assert words.words[first[0]] == "red"
    assert share.tolist() == [1.0]
    assert len(words.present("nothing known", 64)[0]) == 0


def test_related_words_are_one_step_of_a_walk_by_brute_force():
    rng = np.random.default_rng(0)
    from scipy.sparse import csr_matrix

    dense = np.where(rng.random((9, 9)) < 0.5, rng.random((9, 9)), 0).astype(np.float32)
    places, probs = np.array([1, 4]), np.array([0.75, 0.25])
    walked = probs @ dense[places].astype(np.float64)
    walked[places] = 0
    best = np.argsort(-walked, kind="stable")[:3]
    found, shares = related(csr_matrix(dense), places, probs, 3)
    assert found.tolist() == best.tolist()
    np.testing.assert_allclose(shares, walked[best] / walked[best].sum())
    nothing, _ = related(csr_matrix((9, 9), dtype=np.float32), places, probs, 3)
    assert len(nothing) == 0


def test_neighbours_have_the_mutual_information_of_their_counts():
    """PPMI by its formula (Levy et al. 2015) from counts made by hand: two words, once side by side in each of two texts."""
    words = KeyWords(("cat", "dog", "log"), np.array([2, 2, 1]), 3)
    near = words.neighbours(["cat dog", "dog cat", "log"]).toarray()
    assert near[0, 1] == pytest.approx(math.log(2 / (2 * 0.5)), rel=1e-6)
    assert near[2].tolist() == [0, 0, 0]


def test_both_kinds_of_words_are_mixed_and_one_stands_in_for_both():
    present = padded([(np.array([0]), np.array([1.0])), (np.array([1]), np.array([1.0]))], 1)
    beyond = padded([(np.array([2, 3]), np.array([0.5, 0.5])), (np.zeros(0, int), np.zeros(0))], 2)
    made = mixed(present, beyond, 0.4)
    torch.testing.assert_close(made.probs, torch.tensor([[0.6, 0.2, 0.2], [1.0, 0.0, 0.0]]))
    nothing = Sparse(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1))
    assert not mixed(nothing, nothing, 0.4).probs.any()


def test_the_loss_is_the_divergence_of_torch(data):
    """torch.nn.functional.kl_div on dense targets; a text without key words adds nothing and is not counted."""
    system = built(data, targets="data", warm_share=0.0, related_words=None).eval()
    columns = data.train.take(range(5))
    columns["anchor"] = ["? ! …", *columns["anchor"][1:]]
    batch = {**system.collate(columns), "step": 0, "indices": list(range(5))}
    vectors = system.encoder.embed(batch, ("anchor", "positive"))
    kl = 0.0
    for name, h in vectors.items():
        dense = torch.zeros(5, len(system.key_words))
        for row, text in enumerate(columns[name]):
            places, probs = system.key_words.present(text, 64)
            dense[row, places] = torch.from_numpy(probs).float()
        cosines = F.normalize(h, dim=1) @ F.normalize(system.head.rows, dim=1).T
        kl += F.kl_div(F.log_softmax(cosines / 0.07, 1), dense, reduction="sum")
    output = system.loss(batch)
    torch.testing.assert_close(output.total, kl / 9)
    assert float(output.stats["without_key_words"]) == pytest.approx(0.1)


def test_shuffled_targets_are_those_of_other_texts(data):
    plain, shuffled = (built(data, shuffled=value).eval() for value in (None, True))
    one, other = (system.loss(batch_of(system, data)).total.item() for system in (plain, shuffled))
    assert one != other
    rows = plain.collate(data.train.take(range(8)))["anchor.present.ids"]
    assert (rows != rows.roll(1, 0)).any()


# ---- stages ----------------------------------------------------------------------------------------------------------


def test_stages_have_all_the_steps():
    scratch = TextEncoderConfig(backbone="scratch", dropout=0.1)
    named = {
        "both": (Config(), [("words in the text", 60), ("related words", 30)]),
        "warm": (
            Config(encoder=scratch, warm_share=0.1),
            [("masked tokens", 9), ("words in the text", 54), ("related words", 27)],
        ),
        "data": (Config(targets="data"), [("words in the text", 90)]),
        "mixture": (Config(targets="mixture"), [("related words", 90)]),
        "rival": (Config(encoder=scratch, objective="dropout"), [("dropout", 90)]),
    }
    for config, expected in named.values():
        assert not config.validate()
        assert [(stage.name, stage.steps) for stage in stages_of(config, 90)] == expected
    with pytest.raises(ConfigError, match=r"train.steps=2 is too few"):
        stages_of(Config(), 2)


def test_only_the_second_stage_predicts_related_words(data):
    system = built(data).eval()
    first, second = (
        system.loss(batch_of(system, data, stage=stage)).total.item()
        for stage in ("words in the text", "related words")
    )
    only = built(data, targets="data", related_words=None).eval()
    assert first == pytest.approx(only.loss(batch_of(only, data)).total.item())
    assert second != pytest.approx(first)


def test_masked_tokens_are_predicted_from_the_others(data):
    """Cross-entropy at the masked places alone, by torch; the marks at the ends are never masked."""
    system = built(data).eval()
    batch = batch_of(system, data, rows=16, stage="masked tokens")
    tokens = batch["anchor"]
    masked = system._drawn(batch, "anchor", tokens)
    ends = tokens.lengths.cumsum(0)
    assert not masked[ends - 1].any()
    assert not masked[ends - tokens.lengths].any()
    assert 0.05 < masked.float().mean() < 0.25
    loss = system.loss(batch)
    assert set(loss.terms) == {"masked"}
    assert loss.total.item() == pytest.approx(math.log(system.encoder.tokenizer.get_vocab_size()), rel=0.15)


def test_the_rival_learns_no_words(data):
    encoder = replace(smoke().model.encoder, dropout=0.1)
    system = built(data, encoder=encoder, objective="dropout", related_words=None, warm_share=0.0)
    system.train()
    assert set(system.loss(batch_of(system, data)).terms) == {"dropout"}
    with pytest.raises(ConfigError, match="learns no words"):
        system.explain("a text")


def test_rows_of_words_have_a_learning_rate_of_their_own(data):
    groups = list(built(data, head_rate=5.0).param_groups(0.1, 0.01))
    assert [group.get("lr") for group in groups] == [None, None, 0.5]
    system = built(data)
    grouped = [id(p) for group in system.param_groups(0.1, 0.01) for p in group["params"]]
    assert sorted(grouped) == sorted(map(id, system.parameters()))


# ---- words and reasons -----------------------------------------------------------------------------------------------


def test_a_text_is_explained_by_the_words_of_its_vector(system):
    text = "One cup: the baker buys it near the forest, as people say."
    words = system.explain(text, count=len(system.key_words))
    assert sum(one.share for one in words) == pytest.approx(1, abs=1e-5)
    assert [one.share for one in words] == sorted((one.share for one in words), reverse=True)
    own = set(system.key_words.counts(text))
    assert {one.word for one in words if one.where == "in text"} == {system.key_words.words[w] for w in own}
    vector = torch.from_numpy(system.encode([text]))
    p = torch.softmax(system.head(vector), 1)[0]
    assert words[0].share == pytest.approx(p.max().item(), rel=1e-5)


def test_a_text_is_connected_with_itself_by_its_own_words(system):
    text = "One cup: the baker buys it near the forest, as people say."
    alone, connected = system.explain(text, count=5), system.explain(text, text, count=5)
    assert [one.word for one in alone] == [one.word for one in connected]
    squares = np.array([one.share for one in alone]) ** 2
    shares = np.array([one.share for one in connected])
    np.testing.assert_allclose(shares / shares[0], squares / squares[0], rtol=1e-4)
    assert {one.where for one in connected} <= {"in both texts", "only meant"}


def test_sparse_vectors_weigh_the_likeliest_words(system, monkeypatch):
    from brickwork.systems.text2token import reading

    monkeypatch.setattr(reading, "SPARSE_WORDS", 7)
    texts = ["who buys a car in the forest?", "the doctor"]
    sparse = system.encode(texts, view="sparse")
    p = system.representation().probabilities(texts).numpy()
    for row in range(2):
        best = np.argsort(-p[row])[:7]
        assert set(sparse[row].indices) == set(best)
        np.testing.assert_allclose(sparse[row, best].toarray()[0], np.log1p(1000 * p[row, best]), rtol=1e-5)
    assert system.encode([], view="sparse").shape == (0, len(system.key_words))
    with pytest.raises(ConfigError, match="dim is of dense vectors"):
        system.encode(texts, view="sparse", dim=8)
    with pytest.raises(ConfigError, match="view='both' is unknown"):
        system.encode(texts, view="both")


def test_predict_lists_words_in_the_text_and_beyond(system, tmp_path):
    answers = system.predict({"input": ["One cup: the baker buys it near the forest."]}, count=4)
    listed = [*filter(None, (answers["in_text"][0] + ", " + answers["beyond"][0]).split(", "))]
    assert len(listed) == 4
    with pytest.raises(ConfigError, match="count=0"):
        system.predict({"input": ["a"]}, count=0)


def test_a_loaded_model_has_the_same_words(system, tmp_path):
    folder = system.representation().save(tmp_path / "model")
    loaded = brickwork.load(folder)
    text = "the doctor mends a lamp"
    assert loaded.explain(text) == system.explain(text)
    assert loaded.representation().fingerprint == system.representation().fingerprint
    assert (
        json.loads((folder / "brickwork.json").read_text())["fingerprint"]
        == loaded.representation().fingerprint
    )
    with torch.no_grad():
        loaded.head.rows[0] += 1
    assert loaded.representation().fingerprint != system.representation().fingerprint


def test_pictures_escape_texts(system):
    texts = ["<b>the doctor</b> & the lamp in the forest", "a baker buys the lamp", "the pilot in the forest"]
    drawn = system.draw(Examples({"input": texts}))
    assert [one.title for one in drawn] == ["What the vectors say", "What connects a text with its nearest"]
    assert "<b>the" not in drawn[0].svg
    assert "&lt;" in drawn[0].svg
    assert not system.draw(Examples({"input": texts[:1]}))


# ---- what the basis paper measures -----------------------------------------------------------------------------------


def test_alignment_rates_by_hand():
    """Two texts: T = {0, 1} with words in the order 1 2 0 …, and T = {3} with 4 3 …; a third has no key words."""
    order = np.array([[1, 2, 0, 3, 4], [4, 3, 0, 1, 2], [0, 1, 2, 3, 4]])
    rates = alignment(order, [{0, 1}, {3}, set()], k=1)
    assert rates == {"hit@1": 0.5, "lar": 0.25, "gar": pytest.approx(1 / 3)}
    assert alignment(order, [{0, 1}, {3}, set()], k=2)["hit@2"] == 1.0
    assert math.isnan(alignment(order[:1], [set()])["lar"])


def test_vectors_without_their_first_component_by_sklearn():
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(0)
    x = (rng.normal(size=(60, 6)) * [9, 3, 2, 1, 1, 1]).astype(np.float32)
    pca = PCA(6).fit(x)
    rest = pca.transform(x)
    rest[:, 0] = 0
    expected = rest @ pca.components_
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(without_first(x, x), expected, atol=1e-4)
    white = PCA(6, whiten=True).fit_transform(x)
    cosines = white @ white.T / np.outer(np.linalg.norm(white, axis=1), np.linalg.norm(white, axis=1))
    made = whitened(x, x)
    np.testing.assert_allclose(made @ made.T, cosines, atol=1e-4)


def test_the_share_of_a_change_on_the_first_component():
    x = np.array([[-2.0, 0, 0], [2, 0, 0], [0, 1, 0], [0, -1, 0]], dtype=np.float32)
    assert share_on_first(x, x + np.array([[3.0, 4, 0]], dtype=np.float32)) == pytest.approx(9 / 25)


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_texts_without_key_words_are_refused():
    texts = [f"every text is like this {n}" for n in range(5)]
    examples = Examples({"anchor": texts, "positive": texts, "group": list(range(5))})
    data = TaskData(
        name="a", kind="pairs", modality="text", train=examples, validation=examples, test=examples
    )
    with pytest.raises(DataError, match=r"leave 0 key words of 10 words.*loosen model.filter"):
        built(data, filter=Filter())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Config(targets="data", mixture=0.5), "mixture has no effect with targets 'data'"),
        (Config(targets="model", mixture=0.5), "mixture has no effect with targets 'model'"),
        (Config(objective="dropout"), "needs encoder.dropout above 0"),
        (Config(objective="dropout", shuffled=True), "shuffled has no effect"),
        (Config(head="own", head_rate=2.0), "head_rate has no effect with head 'own'"),
        (
            Config(head="own", encoder=TextEncoderConfig(backbone="scratch")),
            "with backbone 'scratch' use fresh",
        ),
        (Config(warm_share=0.5), "warm_share has no effect with backbone 'minilm'"),
        (Config(head="own", encoder=TextEncoderConfig(projection=8)), "leave encoder.projection out"),
        (Config(warm_share=0.5, encoder=TextEncoderConfig(backbone="static")), "needs a transformer"),
    ],
)
def test_options_without_effect_are_refused(model, message):
    assert any(message in problem for problem in model.validate())


# ---- data ------------------------------------------------------------------------------------------------------------


def table(folder, texts, name="notes.jsonl"):
    path = folder / name
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    return path


def test_texts_without_headings_or_neighbours_are_learnt_from(tmp_path):
    texts = [f"note {n} about the cat and dog number {n % 3}" for n in range(40)]
    task = load_data(DataConfig(source=str(table(tmp_path, texts))), 0)
    held = [" ".join(pair) for pair in zip(task.test.columns["anchor"], task.test.columns["positive"])]
    held += [
        " ".join(pair) for pair in zip(task.validation.columns["anchor"], task.validation.columns["positive"])
    ]
    assert sorted([*task.train.columns["input"], *held]) == sorted(texts)
    assert (len(task.test), len(task.validation)) == (4, 2)
    assert task.retrieval["halves"].queries == task.test.columns["anchor"]
    assert "measured on halves" in task.notes[-1]


def test_every_passage_is_learnt_from_but_those_that_are_held_out(tmp_path):
    """Long texts are cut into passages that have neighbours; short ones have none, and are learnt from all the same."""
    long = [" ".join(f"word{n}x{i}" for i in range(60)) for n in range(30)]
    short = [f"a short note {n}" for n in range(20)]
    source = str(table(tmp_path, [*long, *short]))
    task = load_data(DataConfig(source=source, max_passage_words=20), 0)
    train = task.train.columns["input"]
    assert set(short) <= set(train)
    held = {
        text
        for part in (task.validation, task.test)
        for name in ("anchor", "positive")
        for text in part.columns[name]
    }
    assert held
    assert not held & set(train)
    assert task.retrieval


def test_pairs_and_labels_are_read_as_everywhere(tmp_path):
    (tmp_path / "pairs.csv").write_text(
        "anchor,positive\n" + "\n".join(f"q {n},answer {n}" for n in range(20))
    )
    assert load_data(DataConfig(source=str(tmp_path / "pairs.csv")), 0).kind == "pairs"
    with pytest.raises(DataError, match="1 different text; training needs 2"):
        load_data(DataConfig(source=str(table(tmp_path, ["alone"]))), 0)
    with pytest.raises(DataError, match="does not exist"):
        load_data(DataConfig(source=str(tmp_path / "nowhere")), 0)


def test_texts_alone_are_trained_on_to_the_end(tmp_path):
    words = ("cat", "dog", "lamp", "ship", "ring")
    texts = [f"note {n} about the {words[n % 5]} and the {words[n % 3]}" for n in range(200)]
    data = DataConfig(source=str(table(tmp_path, texts)))
    whole = run(steps=8, filter=Filter(most_documents=0.9, frequent=2))
    summary = api.train(replace(whole, data=data), tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()
    assert summary.system.explain(texts[0])
    assert "halves" in summary.measurement.grids
