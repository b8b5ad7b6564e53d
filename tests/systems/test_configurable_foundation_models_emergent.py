"""Emergent bricks: scores, sets, groups, erasing and leaving out, and the way from texts to pictures and files.

Expected values: scikit-learn's average precision, sums over binomials, transformers' own feed-forward layers and losses, and
models whose weights were zeroed by hand.
"""

import copy
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score

import brickwork
from brick_texts import TEXTS
from brickwork.api import export as export_api
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.modules.bricks import load_library
from brickwork.modules.mounting import applied
from brickwork.modules.recorder import tap
from brickwork.representation.contract import build_system
from brickwork.systems.configurable_foundation_models.base import load_base
from brickwork.systems.configurable_foundation_models.config import BricksConfig, Emergent, OwnBase
from brickwork.systems.configurable_foundation_models.data import halves
from brickwork.systems.configurable_foundation_models.erasing import silenced, thinned, window_nats
from brickwork.systems.configurable_foundation_models.neurons import (
    average_precision,
    functional_scores,
    neuron_places,
    overlap,
    residents,
    text_activity,
    top_neurons,
)
from brickwork.systems.configurable_foundation_models.partition import enrichment

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
SLUG = "configurable-foundation-models"


@pytest.fixture(scope="module")
def lm():
    torch.manual_seed(3)
    return load_base(
        BricksConfig(base=OwnBase(width=32, num_layers=2, num_heads=2, hidden=64), context=32)
    ).eval()


@pytest.fixture(scope="module")
def places(lm, tmp_path_factory):
    """The language model as a folder of transformers, and the texts as a folder for each domain."""
    root = tmp_path_factory.mktemp("emergent")
    lm.model.save_pretrained(root / "lm")
    (root / "lm" / "tokenizer.json").write_text(lm.tokenizer.to_str())
    for name, texts in TEXTS.items():
        (root / "texts" / name).mkdir(parents=True)
        for number in range(4):
            (root / "texts" / name / f"{number}.txt").write_text("\n".join(texts[number::4]))
    return root


def run_of(places, **find):
    run = api.recipe(SLUG, "emergent")
    find = {"texts": 12, "groups": 8, "permutations": 3, "nulls": 1, **find}
    return replace(
        run,
        model=BricksConfig(base=str(places / "lm"), context=32, find=Emergent(**find)),
        data=replace(run.data, source=str(places / "texts"), limit=None, max_passage_words=10),
    )


@pytest.fixture(scope="module")
def found(places):
    api.train(run_of(places), places / "run")
    return brickwork.load(places / "run")


# ---- scores ------------------------------------------------------------------------------------------------------


def test_average_precision_is_scikit_learns():
    """Values in eighths, so that many are equal, and columns enough for several steps."""
    generator = torch.Generator().manual_seed(0)
    activity = (8 * torch.rand(30, 40, generator=generator)).floor() / 8
    activity[:, 0] = 0.0
    labels = torch.rand(3, 30, generator=generator) < 0.3
    expected = [[average_precision_score(own, column) for column in activity.T] for own in labels]
    np.testing.assert_allclose(average_precision(activity, labels), expected, rtol=1e-5)
    both = functional_scores(activity[:, None], labels, "both")[:, 0]
    other = [[average_precision_score(~own, column) for column in activity.T] for own in labels]
    np.testing.assert_allclose(both, np.maximum(expected, other), rtol=1e-5)


@pytest.mark.parametrize("how", ["mean_abs", "max_relu"])
def test_activity_is_that_of_transformers_own_layers(lm, how):
    """Each text alone, without padding: act(gate·x) * (up·x) of the layer, reduced over tokens but the first."""
    texts = ["ab", "a longer text of 32 tokens and then some", "three"]
    activity = text_activity(lm, texts, 32, how)
    for row, text in enumerate(texts):
        ids = torch.tensor([lm.tokenizer.encode(text).ids[:33]])
        for layer, block in enumerate(lm.model.model.layers):
            with tap(block.mlp) as inputs, torch.no_grad():
                lm.model(input_ids=ids)
            own = F.silu(block.mlp.gate_proj(inputs[0])) * block.mlp.up_proj(inputs[0])
            rest = own[0, 1:]
            expected = rest.abs().mean(0) if how == "mean_abs" else rest.relu().amax(0)
            torch.testing.assert_close(activity[row, layer], expected.detach(), rtol=1e-4, atol=1e-6)


def test_sets_of_neurons():
    """By hand."""
    score = torch.tensor([[0.9, 0.1, 0.8, 0.2], [0.3, 0.7, 0.4, 0.6]])
    assert top_neurons(score, 0.25).nonzero().tolist() == [[0, 0], [0, 2]]
    steady = residents(score, 0.25)
    assert steady.nonzero().tolist() == [[0, 0], [1, 1]]
    assert top_neurons(score, 0.25, steady).nonzero().tolist() == [[0, 2], [1, 3]]
    sets = torch.tensor(
        [[[True, True, False, False]], [[False, True, True, False]], [[True, True, False, False]]]
    )
    assert overlap(sets).tolist() == [[1, 0.5, 1], [0.5, 1, 0.5], [1, 0.5, 1]]


def test_enrichment_counts_what_binomials_say():
    """300 neurons in 10 groups; the three best of a layer all lie in group 0, in the other layer in three groups."""
    labels = (torch.arange(300) % 10).expand(2, -1)
    score = torch.zeros(1, 2, 300)
    score[0, 0, [0, 10, 20]] = 1.0
    score[0, 1, [0, 11, 22]] = 1.0
    p = enrichment(score, labels, 10)
    ways = math.comb(300, 3)
    assert p[0, 0, 0] == pytest.approx(math.comb(30, 3) / ways)
    one_or_more = 1 - math.comb(270, 3) / ways
    assert p[0, 1, [0, 1, 2]] == pytest.approx(one_or_more)
    assert p[0, :, 9] == pytest.approx(1.0)


# ---- without neurons ---------------------------------------------------------------------------------------------


def test_silenced_is_the_model_with_those_weights_zeroed_and_is_undone(lm):
    ids = torch.tensor([[10, 20, 30, 40, 50]])
    chosen = torch.zeros(2, 64, dtype=torch.bool)
    chosen[0, [3, 60]] = chosen[1, 5] = True
    other = copy.deepcopy(lm.model)
    with torch.no_grad():
        for block, own in zip(other.model.layers, chosen):
            block.mlp.down_proj.weight[:, own] = 0.0
        before = lm.model(input_ids=ids).logits
        with silenced(lm, chosen):
            without = lm.model(input_ids=ids).logits
        torch.testing.assert_close(without, other(input_ids=ids).logits, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(without, before, atol=1e-4)
        assert torch.equal(lm.model(input_ids=ids).logits, before)


def test_nats_are_transformers_loss(lm):
    texts = ["a text of some tokens", "short"]
    sums, counts = window_nats(lm, texts, 32)
    for text, total, count in zip(texts, sums, counts):
        ids = torch.tensor([lm.tokenizer.encode(text).ids])
        with torch.no_grad():
            loss = lm.model(input_ids=ids, labels=ids).loss
        assert count == ids.shape[1] - 1
        assert total / count == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize("by", ["activation", "magnitude", "random"])
def test_thinned_leaves_the_lowest_out(lm, by):
    """What reaches the output weights: for each token the same but for the 32 of 64 that a sort puts first."""
    down = lm.model.model.layers[0].mlp.down_proj
    ids = torch.tensor([[10, 20, 30, 40, 50]])
    with torch.no_grad(), tap(down) as whole:
        lm.model(input_ids=ids)
    with torch.no_grad(), thinned(lm, 0.5, by, torch.Generator().manual_seed(0)), tap(down) as left:
        lm.model(input_ids=ids)
    kept = left[0] != 0
    assert kept.sum(-1).tolist() == [[32] * 5]
    assert torch.equal(left[0][kept], whole[0][kept])
    if by != "random":
        size = whole[0].abs() * (down.weight.norm(dim=0) if by == "magnitude" else 1.0)
        assert torch.equal(kept, size >= size.sort(dim=-1).values[..., 32:33])


# ---- from texts to files -----------------------------------------------------------------------------------------


def test_a_run_finds_specialists_that_labels_by_chance_do_not_give(found):
    assert found.domains == ("lists", "names", "sums")
    assert (found.score.amax(2) - found.null_best).mean() > 0.1
    assert abs(float(found.score.mean() - found.null_mean.mean())) < 0.1
    assert found.score.shape == (3, 2, 64)
    assert all(torch.bincount(own).tolist() == [8] * 8 for own in found.groups)
    assert float(found.brick("sums").sum()) == round(0.05 * 128)
    assert not bool((found.brick("sums") & found.residents()).any())


def test_the_matrix_is_what_erasing_costs(found, places):
    """One row anew, with a model whose weights are zeroed and transformers' loss of each text."""
    run = api.read_run(places / "run")
    _, data = api.build(run)
    domains = list(data.train.columns["domain"])
    rows = [row for row in halves(domains, 12).measured if domains[row] == "names"]
    other = copy.deepcopy(found.lm.model)
    sums = []
    with torch.no_grad():
        for model in (found.lm.model, other):
            if model is other:
                for block, own in zip(other.model.layers, found.brick("sums", residents=True)):
                    block.mlp.down_proj.weight[:, own] = 0.0
            losses = []
            for row in rows:
                ids = torch.tensor([found.lm.tokenizer.encode(data.train.columns["input"][row]).ids[:33]])
                losses.append(
                    (float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1), ids.shape[1] - 1)
                )
            sums.append(sum(loss for loss, _ in losses) / sum(count for _, count in losses))
    expected = 100 * (math.exp(sums[1] - sums[0]) - 1)
    assert found.matrix()[found.rows().index("sums"), 1] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_resumed_after_any_round_it_finds_the_same(places, found):
    run = run_of(places)
    system, data = api.build(run)
    for _ in itertools.islice(system.fit(data.train, start=0), 4):
        pass
    again, _ = api.build(run)
    again.load_state_dict(system.state_dict())
    for _ in again.fit(data.train, start=4):
        pass
    for name, value in found.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_how_long_it_takes_is_said_before(places):
    """Texts of 6 + 6 a domain: 18 scored, 18 measured 1 + 7 times, 9 of them 15 times more."""
    run = run_of(places)
    takes = api.plan(run)["takes"]
    _, data = api.build(run)
    split = halves(list(data.train.columns["domain"]), 12)
    assert (len(split.scored), len(split.measured)) == (18, 18)
    tokens = int(takes.split()[3].replace(",", ""))
    assert tokens == pytest.approx(
        (18 + 18 * 8 + 9 * 15) * 32, rel=0.1
    )  # about 32 of 33 tokens of a window are predicted
    assert "minutes" in takes


def test_predict_analyse_and_the_page(found, places):
    (places / "asks.csv").write_text('text\n"7 + 5 = 12; 7 + 5 = 12;"\nthe king of a has a king.\n')
    answers = predict_api.predict(places / "run", places / "asks.csv", erase="sums")
    assert list(answers) == ["id", "domain", "activity", "nats_per_token", "nats_erased"]
    assert list(answers["domain"]) == ["sums", "names"]
    tables = predict_api.analyse(places / "run")
    assert [len(next(iter(tables[name].values()))) for name in ("specialists", "matrix", "thinned")] == [
        150,
        7,
        15,
    ]
    assert tables["specialists"]["score"][0] == pytest.approx(float(found.score[0].max()))
    page = predict_api.inspect(places / "run").read_text()
    for title in ("What erasing a domain costs", "Specialists by layer", "Neurons that two domains share"):
        assert title in page


def test_bricks_of_a_library_and_a_model_of_transformers(found, places):
    from transformers import AutoModelForCausalLM

    export_api.export_bricks(places / "run", places / "library")
    library = load_library(places / "library")
    assert list(library) == ["without-lists", "without-names", "without-sums"]
    export_api.export_bricks(places / "run", places / "erased", merged=True, brick="sums")
    ids = torch.tensor([[10, 20, 30, 40, 50]])
    model = found.lm.model
    with torch.no_grad():
        before = model(input_ids=ids).logits
        with applied(model, library["without-sums"]):
            without = model(input_ids=ids).logits
        assert torch.equal(model(input_ids=ids).logits, before)
        merged = AutoModelForCausalLM.from_pretrained(places / "erased")(input_ids=ids).logits
    torch.testing.assert_close(without, merged, rtol=1e-5, atol=1e-6)
    _, data = api.build(api.read_run(places / "run"))
    trained = build_system(SLUG, BricksConfig(base=str(places / "lm"), context=32), data, 0)
    texts = {"input": TEXTS["sums"][:2]}
    answers = trained.predict(texts, brick="without-sums", library=str(places / "library"))
    expected = found.predict(texts, erase="sums")
    np.testing.assert_allclose(answers["nats_base"], expected["nats_per_token"], rtol=1e-5)
    np.testing.assert_allclose(answers["nats_per_token"], expected["nats_erased"], rtol=1e-5)
    with pytest.raises(ConfigError, match="no ranks"), applied(model, library["without-sums"], rank=2):
        pass
    with pytest.raises(ConfigError, match="say which domain"):
        found.export_merged(places / "nothing")
    assert not (places / "nothing").exists()


# ---- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"find": Emergent(groups=7)}, "find.groups=7"),
        ({"context": 100_000}, "context=100000"),
    ],
)
def test_a_model_that_does_not_fit(places, change, message):
    run = run_of(places)
    with pytest.raises(ConfigError, match=message):
        api.build(replace(run, model=replace(run.model, **change)))


def test_texts_that_do_not_suffice():
    with pytest.raises(DataError, match="one domain"):
        halves(["a"] * 9, 8)
    with pytest.raises(DataError, match="'b' has 3 texts"):
        halves([*"aaaaa", *"bbb"], 8)


def test_options_without_effect():
    problems = BricksConfig(base=OwnBase(), find=Emergent(), kind="prompt", rank=3).validate()
    assert [problem.split()[0] for problem in problems] == ["rank", "kind", "a"]
    assert not BricksConfig(find=Emergent()).validate()


def test_unknown_domain_and_a_model_that_has_changed(found, places):
    with pytest.raises(ConfigError, match="there is no domain 'law'"):
        found.predict({"input": ["x"]}, erase="law")
    with pytest.raises(ConfigError, match="no effect without erase"):
        found.predict({"input": ["x"]}, residents=True)
    again = brickwork.load(places / "run")
    with torch.no_grad():
        weights = places / "lm"
        other = load_base(BricksConfig(base=str(weights)))
        other.model.model.norm.weight.add_(1.0)
        kept = (weights / "model.safetensors").read_bytes()
        other.model.save_pretrained(weights)
    try:
        with pytest.raises(ArtifactError, match="differs in its weights; run"):
            again.predict({"input": ["x y z"]})
    finally:
        (weights / "model.safetensors").write_bytes(kept)


def test_a_mixture_has_no_neurons_to_tell_apart():
    class Half(torch.nn.Module):
        num_layers = 1

    with pytest.raises(ConfigError, match="base=runs/x"):
        neuron_places(Half(), "runs/x")
