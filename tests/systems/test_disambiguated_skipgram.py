"""disambiguated-skipgram: the loss by hand and by differences, rows by dense steps, made-up homonyms found, its verbs."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from typer.testing import CliRunner

import brickwork
from brickwork.api import train as api
from brickwork.cli.main import app
from brickwork.core.config import override
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.core.seeding import generator_for
from brickwork.representation.vectors import WordVectors
from brickwork.studies.disambiguated_skipgram.mssg import MultiSense
from brickwork.systems.disambiguated_skipgram.config import Config, Data
from brickwork.systems.disambiguated_skipgram.data import load_data, pseudowords
from brickwork.systems.disambiguated_skipgram.learning import (
    MAIN,
    PRETRAINING,
    Learner,
    Place,
    Spent,
    Tables,
    by_pair,
)
from brickwork.systems.disambiguated_skipgram.measures import scores_by_word
from brickwork.systems.disambiguated_skipgram.objective import Positions, Rows, position_loss
from brickwork.systems.disambiguated_skipgram.senses import Senses, find

K, D, V = 3, 4, 6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("senses") / "run"
    return api.train(api.recipe("disambiguated-skipgram", "smoke"), folder)


def rows_of(seed: int = 0) -> Rows:
    """Every word of a vocabulary of six, in float64."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(V, K, D), (V, K, D), (V, K), (V, D), (V,)]
    return Rows(*(torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes))


def positions() -> Positions:
    """Two positions; all words are drawn, so that the sampled softmax is the full one."""
    contexts = torch.tensor([[1, 2, -1], [0, 5, 2]])
    every = torch.arange(V)
    return Positions(
        torch.tensor([4, 3]), torch.tensor([4, 3]), contexts, contexts, every, torch.zeros(V).double()
    )


@pytest.mark.parametrize("slots", [False, True])
def test_the_loss_is_the_equations_written_out(slots):
    """Loops over positions, senses and words, with the Gumbel noise of the same generator."""
    rows, at, tau, lam = rows_of(), positions(), 0.5, -0.1
    loss = position_loss(rows, at, entropy=lam, temperature=tau, noise=generator_for(0, 0, "x"), slots=slots)
    uniform = torch.rand((2, K), generator=generator_for(0, 0, "x"), dtype=torch.float64).tolist()
    e, gate, b, u_table, beta = (t.tolist() for t in rows.tensors())
    words, entropy, pairs = 0.0, 0.0, 5
    for i, (w, context) in enumerate([(4, [1, 2]), (3, [0, 5, 2])]):
        size = 3 if slots else len(context)
        r = [sum(u_table[c][d] for c in context) / size for d in range(D)]
        a = [sum(r[d] * gate[w][k][d] for d in range(D)) + b[w][k] for k in range(K)]
        p = [math.exp(x) / sum(map(math.exp, a)) for x in a]
        noisy = [(x - math.log(-math.log(v))) / tau for x, v in zip(a, uniform[i])]
        z = [math.exp(x) / sum(map(math.exp, noisy)) for x in noisy]
        u = [sum(z[k] * e[w][k][d] for k in range(K)) for d in range(D)]
        scores = [sum(u[d] * u_table[c][d] for d in range(D)) + beta[c] for c in range(V)]
        for c in context:
            words += (math.log(sum(map(math.exp, scores))) - scores[c]) / pairs
            entropy -= sum(x * math.log(x) for x in p) / pairs
    assert loss.terms["words"].item() == pytest.approx(words)
    assert loss.terms["entropy"].item() == pytest.approx(entropy)
    assert loss.total.item() == pytest.approx(words + lam * entropy)


def test_gradients_through_the_draw_are_those_of_differences():
    """torch.autograd.gradcheck in float64, of all that is learnt. Of U the context is cut off from the gradient: there the
    difference of the loss with that part held."""

    def loss(*tables):
        u_fixed = rows.words
        held = Rows(tables[0], tables[1], tables[2], u_fixed, tables[3])
        return position_loss(
            held, positions(), entropy=-0.1, temperature=0.7, noise=generator_for(0, 0, "y")
        ).total

    rows = rows_of(1)
    rows.words.requires_grad_(False)
    assert torch.autograd.gradcheck(loss, (rows.senses, rows.gate, rows.gate_bias, rows.bias))


def test_the_context_has_no_gradient():
    """With a gate that decides all, U moves only as what is predicted: words that are only context and not drawn do not."""
    rows = rows_of()
    at = Positions(
        torch.tensor([4]), torch.tensor([4]), torch.tensor([[1]]), torch.tensor([[2]]), torch.tensor([2, 3]),
        torch.zeros(V).double(),
    )  # fmt: skip
    loss = position_loss(rows, at, entropy=0.1, temperature=1.0, noise=None)
    (moved,) = torch.autograd.grad(loss.total, [rows.words])
    assert moved.abs().sum(1).gt(0).tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize("stage", [PRETRAINING, MAIN])
def test_gathered_rows_are_moved_as_a_dense_adagrad_would(stage):
    """The same loss on whole tables, and Adagrad with a mean over each row written out on them."""
    config = Config(senses=K, dim=D, negatives=4, learning_rate=0.2, entropy=-0.2)
    torch.manual_seed(0)
    tables = Tables(V, K, D)
    for parameter in tables.parameters():
        parameter.data.normal_()
    learner = Learner(tables, Spent(tables), config, 3)
    dense = {name: p.detach().clone().requires_grad_() for name, p in tables.named_parameters()}
    spent = {n: torch.zeros(p.shape if "bias" in n else p.shape[:-1]) for n, p in dense.items()}
    batch = tuple(np.array(a) for a in ([4, 3, 4], [[1, 2], [0, -1], [5, 4]], [[1, 2], [0, -1], [5, 4]]))
    for step in range(3):
        place = Place(stage, 0.1 * step)
        learner.step(batch, place, f"k{step}")
        centres, contexts, labels = map(torch.from_numpy, batch)
        drawn = learner._drawn.draw(4, generator_for(3, 0, f"k{step}/negatives"))
        names = ("shared_gate", "shared_bias") if stage == PRETRAINING else ("gate", "gate_bias")
        used = ("senses", *names, "words", "bias")
        loss = position_loss(
            Rows(*(dense[n] for n in used)),
            Positions(centres, centres, contexts, labels, drawn, learner._log_expected),
            entropy=-0.1 if stage == PRETRAINING else -0.2,
            temperature=place.temperature(config),
            noise=None if stage == PRETRAINING else generator_for(3, 0, f"k{step}/noise"),
        )
        for name, gradient in zip(used, torch.autograd.grad(loss.total, [dense[n] for n in used])):
            square = gradient.square() if "bias" in name else gradient.square().mean(-1)
            spent[name] += square
            scale = (spent[name] + 1e-12).rsqrt()
            dense[name].data -= (
                place.rate(config) * gradient * (scale if "bias" in name else scale[..., None])
            )
    for name, parameter in tables.named_parameters():
        torch.testing.assert_close(parameter.data, dense[name].data, rtol=1e-4, atol=1e-5)


def test_rates_and_temperatures_of_the_stages():
    """By hand: a line to a tenth; τ from 1 to .5 over the first epoch of the second stage."""
    config = Config(learning_rate=1.0, pretraining=2, epochs=4)
    assert Place(PRETRAINING, 1.0).rate(config) == pytest.approx(0.55)
    assert Place(MAIN, 4.0).rate(config) == pytest.approx(0.1)
    assert [Place(MAIN, e).temperature(config) for e in (0.0, 0.5, 3.0)] == [1.0, 0.75, 0.5]
    assert Place(PRETRAINING, 0.5).temperature(config) == 1.0
    assert (Place(PRETRAINING, 0.0).entropy(config), Place(MAIN, 0.0).entropy(config)) == (-0.1, -0.1)


def test_pairs_of_a_position():
    centres, seen, labels = by_pair(np.array([7, 8]), np.array([[1, -1, 2], [3, -1, -1]]), True)
    assert (centres.tolist(), labels[:, 0].tolist()) == ([7, 7, 8], [1, 2, 3])
    assert seen.tolist() == [[-1, -1, 2], [1, -1, -1], [-1, -1, -1]]


def test_homonyms_are_found_and_are_the_most_ambiguous_words(run):
    """What is true is known: eight words of two topics each. The scores are scikit-learn's."""
    system = brickwork.load(run.folder)
    task = api.build(api.recipe("disambiguated-skipgram", "smoke"))[1]
    truth = set(task.train.columns["word"])
    ranked = [system.vocabulary.entries[place] for place in system.senses.ranked(1)]
    assert len(truth & set(ranked[:10])) >= 7
    answers = system.predict(task.train.columns)
    for word, scores in scores_by_word(system.senses, task.train, "gate").items():
        rows = [row for row, other in enumerate(task.train.columns["word"]) if other == word]
        given, found = (
            [column[row] for row in rows] for column in (task.train.columns["sense"], answers["sense"])
        )
        assert scores["ari"] == pytest.approx(adjusted_rand_score(given, found))
        assert scores["ari"] > 0.6, word
    scores = system.evaluate(task.test)
    assert scores["nats_per_word"] < scores["nats_by_frequency"] - 0.3


def test_clusters_are_the_means_of_what_they_got():
    """The rival, against means written out."""
    torch.manual_seed(0)
    data = load_data(Data(source="homonyms", limit=60), 0)
    system = MultiSense.build(Config(senses=2, dim=3, min_count=1), data, None, 0)
    contexts = torch.randn(40, 3)
    words = torch.zeros(40, dtype=torch.int64)
    chosen = torch.cat([system.assign(contexts[i : i + 1], words[i : i + 1]) for i in range(40)])
    for k in chosen.unique().tolist():
        torch.testing.assert_close(system.centres[0, k], contexts[chosen == k].mean(0), rtol=1e-4, atol=1e-5)


def test_pruned_senses_are_never_chosen(run):
    system = brickwork.load(run.folder)
    word = system.vocabulary.ids["bank"]
    usage = torch.tensor([[0.6, 0.38, 0.02]]).expand(len(system.vocabulary), 3)
    senses = Senses(system.tables, usage, system.vocabulary, np.ones(len(system.vocabulary)), 0.05)
    of = find(system.vocabulary, ["bank"], ["the river bank and the boat"])
    for by in ("gate", "cosine"):
        p = senses.probabilities(of, by)[0]
        assert p[2] == 0
        assert float(p.sum()) == pytest.approx(1)
    assert senses.kept[word].tolist() == [True, True, False]
    assert "bank#3" not in senses.vectors
    assert "bank#2" in senses.vectors


def test_the_place_of_a_word_and_its_context(run):
    vocabulary = brickwork.load(run.folder).vocabulary
    of = find(vocabulary, ["bank", "boat", "nothere"], ["water bank flow bank", "bank fund", "fund"], reach=1)
    names = [vocabulary.entries[place] for place in of.context.tolist()]
    assert (names, of.starts.tolist()) == (["water", "flow", "bank", "fund", "fund"], [0, 2, 4])
    assert of.words[2] == -1


def test_from_the_command_line(run, tmp_path):
    table = tmp_path / "sentences.csv"
    table.write_text(
        "word,text\nbank,the flood and the boat in the valley\nbank,loan credit and debt\n,fund tax note\n"
    )
    answers = brickwork.predict(run.folder, table)
    assert answers["sense"][0] != answers["sense"][1]
    assert {"boat", "flood", "water", "valley", "shore"} & set(answers["neighbours"][0].split(", "))
    assert answers["word"][2] == "note"
    result = CliRunner().invoke(
        app, ["export", str(run.folder), "--to", "word2vec", "--out", str(tmp_path / "v.bin")]
    )
    assert result.exit_code == 0, result.output
    written, senses = WordVectors.read(tmp_path / "v.bin"), brickwork.load(run.folder).senses
    assert written.words == senses.vectors.words
    np.testing.assert_array_equal(written.matrix, senses.vectors.matrix)
    page = brickwork.inspect(run.folder).read_text(encoding="utf-8")
    assert page.count("The senses of") >= 6
    assert "The most ambiguous words" in page


def test_bad_input_is_said_once(run, tmp_path):
    system = brickwork.load(run.folder)
    with pytest.warns(
        BrickworkWarning, match=r"1 of 2 words have no vectors.*'bankk' in row 2: did you mean 'bank'"
    ):
        answers = system.predict({"word": ["bank", "bankk"], "text": ["boat", "boat"]})
    assert (answers["sense"][1], answers["probability"][1]) == ("", 0)
    with pytest.raises(DataError, match="no word has a vector"):
        system.predict({"word": ["xyz"], "text": ["boat"]})
    with pytest.raises(DataError, match="no column 'text'; there are word"):
        system.predict({"word": ["bank"]})
    with pytest.raises(ConfigError, match="by=gates"):
        system.predict({"text": ["bank"]}, by="gates")
    with pytest.raises(ConfigError, match=r"model.words has 'bankk'.*did you mean 'bank'"):
        api.build(override(api.recipe("disambiguated-skipgram", "smoke"), ['model.words=["bankk"]']))
    with pytest.raises(DataError, match="no word is there 100000 times"):
        api.build(override(api.recipe("disambiguated-skipgram", "smoke"), ["model.min_count=100000"]))
    with pytest.raises(ConfigError, match="also has 'nothere'"):
        load_data(Data(source="homonyms", also=("nothere",)), 0)
    with pytest.raises(ConfigError, match=r"data.pseudowords=99 .* use at most"):
        load_data(Data(source="homonyms", limit=200, pseudowords=99), 0)
    with pytest.raises(ConfigError, match="exclude_label needs draw=pair"):
        override(api.recipe("disambiguated-skipgram", "smoke"), ["model.exclude_label=true"])
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    with pytest.raises(DataError, match=r"empty\.txt"):
        load_data(Data(source=str(empty)), 0)


def test_pseudowords_hide_which_word_it_was(tmp_path):
    task = load_data(Data(source="homonyms", limit=300, pseudowords=4), 0)
    plain = load_data(Data(source="homonyms", limit=300), 0)
    assert len(task.train) == len(plain.train)
    pairs = pseudowords(
        [text for part in (plain.train, plain.validation, plain.test) for text in part.columns["input"]], 4, 0
    )
    joined = {"_".join(pair) for pair in pairs}
    for text, word, sense in zip(*task.train.columns.values()):
        if word:
            assert word in joined
            assert word in text.split()
            assert sense in word.split("_")
            assert sense not in text.split()


def test_words_that_are_drawn_can_be_named(run):
    system = brickwork.load(run.folder)
    assert len(system.shown()) == 6
    object.__setattr__(system.config, "words", ("bank", "seal"))
    assert [drawing.title for drawing in system.draw(api.build(api.recipe("disambiguated-skipgram", "smoke"))[1].test)] == [
        "The senses of “bank”",
        "The senses of “seal”",
        "The most ambiguous words",
    ]  # fmt: skip
