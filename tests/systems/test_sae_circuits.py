"""sae-circuits: the wired circuit is found; p-values are scipy's, codes a loop's; the pruned model is the ablated one."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import brickwork
from brickwork.api import export as export_api
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.cli.main import app
from brickwork.core.config import override
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.seeding import generator_for
from brickwork.modules.ablation import ablate
from brickwork.modules.pruning import prune
from brickwork.studies.bench import Trained
from brickwork.studies.sae_circuits import baselines, measures
from brickwork.systems.sae_circuits.codes import (
    SparseAutoencoder,
    code_p,
    code_scores,
    edge_scores,
    fit,
    mean_difference,
)
from brickwork.systems.sae_circuits.data import Data, load_data
from brickwork.systems.sae_circuits.effects import Ablations, heads_name, means_without
from brickwork.systems.sae_circuits.keeping import kept_heads
from brickwork.systems.sae_circuits.subjects import load_subject, next_token, padded, read_prompts
from brickwork.systems.sae_circuits.system import System
from brickwork.systems.sae_circuits.wired import CIRCUIT, WiredModel

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
WIRED = {(0, 0), (1, 0)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("circuit") / "run"
    return api.train(api.recipe("sae-circuits", "smoke"), folder)


@pytest.fixture(scope="module")
def prompts():
    task = load_data(Data(source="wired", made_up=24, validation_share=0.0, test_share=0.2), 0)
    return read_prompts(load_subject("wired"), task.train.columns)


def test_the_hand_wired_model_does_induction_and_nothing_else_matters():
    """Every prompt with the behaviour is continued by the successor; by hand: changed distractors change no logit."""
    task = load_data(Data(source="wired", made_up=100, validation_share=0.0, test_share=0.0), 3)
    subject = load_subject("wired")
    prompts = read_prompts(subject, task.train.columns)
    best = next_token(subject.model, prompts.ids).argmax(-1).numpy()
    assert (best == prompts.answer)[prompts.behaves].all()
    assert (best == prompts.answer)[~prompts.behaves].mean() < 0.2
    ids, mask = padded(prompts.ids[:4])
    quiet, loud = (WiredModel(noise)(ids, mask).logits for noise in (0.0, 3.0))
    torch.testing.assert_close(quiet, loud, rtol=0, atol=1e-6)


@pytest.mark.parametrize("ablation", ["mean", "resample"])
def test_how_many_passes_it_takes_is_said_before(ablation):
    """Counted at the model itself."""
    run = override(api.recipe("sae-circuits", "smoke"), [f"model.ablation={ablation}", "model.batch=7"])
    takes = api.plan(run)["takes"]
    system, task = api.build(run)
    calls = []
    handle = system.subject.model.register_forward_hook(lambda *_: calls.append(1))
    list(system.fit(task.train, start=0))
    handle.remove()
    assert int(takes.split(" are about ")[1].split()[0].replace(",", "")) == len(calls)
    assert takes.startswith(f"16 heads on {len(task.train)} prompts")
    assert "minutes" in takes


@pytest.mark.parametrize("ablation", ["mean", "zero", "resample"])
def test_ablation_finds_exactly_the_wired_heads(prompts, ablation):
    model = WiredModel()
    means = means_without(model, prompts, 8)
    ablations = Ablations(model, prompts, ablation, means, 8)
    for layer in range(2):
        damage, drop = ablations.layer(layer, 8)
        assert drop[prompts.behaves, 0].mean() > 1
        assert damage[:, 1:].max() < 1e-6
        assert np.abs(drop[:, 1:]).max() < 1e-5
    other = Ablations(model, prompts, ablation, means, 5).layer(0, 8)[0]
    np.testing.assert_allclose(other, ablations.layer(0, 8)[0], atol=1e-6)
    order = [(0, 0), (1, 0), *((layer, head) for layer in range(2) for head in range(1, 8))]
    np.testing.assert_allclose(ablations.kept(order, [2, 5]), 1, atol=1e-5)


def test_a_run_finds_the_circuit_and_keeps_it(run):
    found = brickwork.load(run.folder)
    assert {divmod(int(place), 8) for place in (found.q.flatten() < 0.05).nonzero()} == WIRED == set(CIRCUIT)
    assert run.scores["heads_q_05"] == 2
    assert run.scores["prompts_right"] == 1
    assert run.scores["faithfulness_effect_2"] == pytest.approx(1, abs=1e-5)
    assert found.ranking("effect")[:2] == [(1, 0), (0, 0)]
    torch.testing.assert_close(found.effect, run.system.effect)
    tables = predict_api.analyse(run.folder)
    assert len(tables["heads"]["effect"]) == 16
    assert set(tables["faithfulness"]["ranking"]) == {"effect", "published", "mean_difference", "random"}


def test_a_stopped_run_goes_on_to_the_same_bits(run, tmp_path):
    run_config = api.recipe("sae-circuits", "smoke")
    task = load_data(run_config.data, run_config.seed)
    from brickwork.representation.contract import build_system

    whole, begun = (build_system("sae-circuits", run_config.model, task, 0) for _ in range(2))
    list(whole.fit(task.train, start=0))
    rounds = begun.fit(task.train, start=0)
    next(rounds)
    next(rounds)
    rest = build_system("sae-circuits", run_config.model, task, 0)
    rest.load_state_dict(begun.state_dict())
    list(rest.fit(task.train, start=2))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_the_pruned_model_is_the_ablated_one_and_is_kept(run, tmp_path):
    found = brickwork.load(run.folder)
    pruned = found.prune("q<0.05")
    ids, mask = padded(read_prompts(found.subject, load_data(Data(source="wired"), 9).train.columns).ids[:6])
    others = {heads_name(layer): {tuple(range(1, 8)): "mean"} for layer in range(2)}
    means = {heads_name(layer): found.means[layer] for layer in range(2)}
    with torch.no_grad(), ablate(found.subject.model, others, means=means):
        wanted = found.subject.model(ids, mask).logits
    torch.testing.assert_close(pruned.model(ids, mask).logits, wanted, rtol=0, atol=1e-5)
    left = sum(p.numel() for p in pruned.parameters())
    assert left < 0.2 * sum(p.numel() for p in found.subject.model.parameters())
    out = export_api.export_pruned(run.folder, tmp_path / "pruned", "p<0.01")
    kept = brickwork.load(out)
    torch.testing.assert_close(kept.model(ids, mask).logits, wanted, rtol=0, atol=1e-5)
    assert kept.generate(["<start> t3 t5 t7 t2 t5"], max_tokens=1, temperature=0.0, top_k=0, seed=0) == [
        " t7"
    ]
    card = (out / "README.md").read_text()
    assert "generate" in card
    assert (
        f"14 heads are gone, and what stands for them, if anything, is in the biases; {left:,} parameters are left"
        in card
    )
    with pytest.raises(ConfigError, match="cannot be pruned"):
        type(found)(override(found.config, ["ablation=resample"]), **found.facts).prune("p<2")


def test_scores_of_codes_are_those_of_a_loop():
    """By hand: codes 1, 2 with and 2, 3 without: one is never without; of three, one is shared."""
    codes = np.array([[1, 5], [2, 5], [2, 5], [3, 5]])
    behaves = np.array([True, True, False, False])
    scores = code_scores(codes, behaves)
    assert scores["published"].tolist() == [1, 0]
    np.testing.assert_allclose(scores["jaccard"], [1 - 1 / 3, 0])
    renamed = code_scores(np.array([7, 3, 9, 4, 0, 1])[codes], behaves)
    assert all(np.array_equal(scores[name], renamed[name]) for name in scores), (
        "names of latents mean nothing"
    )
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 9, (12, 4))
    codes[:6, 0] += 20
    behaves = np.arange(12) < 6
    p = code_p(codes, behaves, permutations=500, seed=0)
    null = np.array([code_scores(codes, rng.permutation(behaves))["published"] for _ in range(500)])
    loop = (1 + (null >= code_scores(codes, behaves)["published"]).sum(0)) / 501
    np.testing.assert_allclose(p, loop, atol=0.08)
    assert p[0] < 0.05


def test_edges_are_those_of_a_dense_table_of_pairs_of_codes():
    """The table that the paper's code counts in, heads × heads × codes × codes, of a small case; 25 // 2 members."""
    rng = np.random.default_rng(0)
    codes = rng.integers(-1, 4, (20, 5))
    behaves = np.arange(20) < 10
    dense = np.zeros((2, 5, 5, 5, 5), dtype=bool)
    for row, label in zip(codes, behaves):
        for one in range(5):
            for other in range(5):
                dense[int(label), one, other, row[one], row[other]] = True
    score = (dense[1] & ~dense[0]).sum((-2, -1))
    score[np.diag_indices(5)] = -1
    given = edge_scores(codes, behaves)
    assert given.sum() == pytest.approx(12)
    border = np.sort(score, axis=None)[-6]
    np.testing.assert_array_less(2 * (score > border).sum(1) - 1e-9, given)
    np.testing.assert_array_less(given, 2 * (score >= border).sum(1) + 1e-9)
    # A head whose codes say nothing stands in fewer good pairs than one whose codes do.
    codes[:10, 0], codes[10:, 0], codes[:, 1] = rng.integers(10, 20, 10), 30, 7
    given = edge_scores(codes, behaves)
    assert given.argmax() == 0
    assert given.argmin() == 1


def test_the_autoencoder_is_the_equations_and_learns():
    generator = generator_for(0, 0, "test")
    model = SparseAutoencoder(6, 9, "atom", generator)
    x = torch.randn(40, 6, generator=generator)
    reconstruction, a = model(x)
    directions = model.encoder / model.encoder.norm(dim=1, keepdim=True)
    by_hand = torch.relu((x - model.bias) @ directions.T + model.encoder_bias)
    torch.testing.assert_close(a, by_hand)
    columns = model.decoder / model.decoder.norm(dim=0, keepdim=True)
    torch.testing.assert_close(reconstruction, by_hand @ columns.T + model.bias)
    rows = SparseAutoencoder(6, 9, "row", generator_for(0, 0, "test"))
    by_row = rows.decoder / rows.decoder.norm(dim=1, keepdim=True)
    torch.testing.assert_close(rows(x)[0], rows(x)[1] @ by_row.T)
    before = (reconstruction - x).square().mean().item()
    fit(model, x, l1=0.0, steps=200, rate=1e-2)
    assert (model(x)[0] - x).square().mean().item() < 0.3 * before
    with torch.no_grad():
        model.encoder_bias.fill_(-100)
    assert (model.codes(x) == -1).all()


def test_mean_difference_of_one_dimension_is_cohens_d():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 2, 1))
    x[:15, 0] += 2
    behaves = np.arange(30) < 15
    d = [
        abs(a.mean() - b.mean()) / np.sqrt((a.var() + b.var()) / 2)
        for a, b in ((x[:15, h, 0], x[15:, h, 0]) for h in (0, 1))
    ]
    np.testing.assert_allclose(mean_difference(x, behaves), d)
    assert not mean_difference(np.ones((30, 2, 3)), behaves).any()


def test_attribution_is_ablation_where_the_model_is_linear_in_a_head(run):
    """The last layer's output is read as it is: of a logit, attribution and ablation by the mean are one number."""
    found = run.system
    prompts = read_prompts(found.subject, load_data(Data(source="wired"), 5).train.columns)
    given = baselines.attribution(found, prompts)
    assert set(np.argsort(-given.flatten())[:2]) == {0, 8}
    assert given.flatten()[[1, 9]] == pytest.approx(0, abs=1e-6)
    assert measures.auc(Trained(found, run.system, 0, 1, 1.0), given) == 1


def test_search_and_gates_find_the_wired_heads_and_a_probe_what_is_told(run, monkeypatch):
    found = run.system
    prompts = read_prompts(
        found.subject, load_data(Data(source="wired", made_up=16, test_share=0.0), 5).train.columns
    )
    kept = baselines.acdc(found, prompts)
    assert kept[0, 0] == kept[1, 0] == len(baselines.THRESHOLDS)
    assert not kept[:, 1:].any()
    openness = baselines.gates(found, prompts)
    assert min(openness[0, 0], openness[1, 0]) > openness[:, 1:].max()
    data = baselines.vectors(found, prompts)
    by_hand = [
        [np.linalg.norm(x[prompts.behaves, h].mean(0) - x[~prompts.behaves, h].mean(0)) for h in range(8)]
        for x in data
    ]
    np.testing.assert_allclose(baselines.raw_difference(found, prompts), by_hand, rtol=1e-5)
    rng = np.random.default_rng(0)
    told, noise = rng.normal(size=(2, len(prompts), 5))
    told[:, 2] += 9 * prompts.behaves
    monkeypatch.setattr(baselines, "vectors", lambda *_: iter([np.stack([told, noise, 0 * noise], 1)]))
    accuracy = baselines.probe(found, prompts)[0]
    assert accuracy[0] > 0.95
    assert accuracy[1:] == pytest.approx(0.5, abs=0.25)


def test_attribution_to_partners_is_exact_where_the_model_is_linear_in_a_head(run):
    """Resample ablation of a logit's own head by hand against the gradient times the change."""
    found = System(override(run.system.config, ["ablation=resample"]), **run.system.facts)
    found._held = run.system.subject
    prompts = read_prompts(
        found.subject, load_data(Data(source="wired", made_up=16, test_share=0.0), 5).train.columns
    )
    given = baselines.attribution(found, prompts)
    assert set(np.argsort(-given.flatten())[:2]) == {0, 8}
    assert given.flatten()[[1, 9]] == pytest.approx(0, abs=1e-6)


def test_conditions(run):
    scores = {"p": torch.tensor([[0.001, 0.5]]), "effect": torch.tensor([[0.1, 2.0]])}
    assert kept_heads(scores, "p<0.01") == {(0, 0)}
    assert kept_heads(scores, " effect >= 2 ") == kept_heads(scores, "top 1") == {(0, 1)}
    for keep, message in (
        ("pp<0.1", "heads have no 'pp': did you mean 'p'"),
        ("p=3", "is no condition"),
        ("p<e", "is no number"),
        ("effect>9", "none would be left"),
    ):
        with pytest.raises(ConfigError, match=message):
            kept_heads(scores, keep)


def test_the_command_line_from_the_file_to_the_pruned_model(run, tmp_path):
    runner = CliRunner()
    page = runner.invoke(app, ["inspect", str(run.folder), "--out", str(tmp_path / "page.html")])
    assert page.exit_code == 0, page.output
    html = (tmp_path / "page.html").read_text()
    assert html.count('class="head-ring"') == 4, "two heads, drawn for wide and for narrow screens"
    assert "By effect, 2 of 16 heads keep nine tenths" in html
    assert "The whole model is right in 100 % of these prompts." in html
    report = (run.folder / "report.html").read_text()
    assert report.count('class="head-ring"') == 4, "the same pictures stand on the report"
    assert ".head-ring {" in report
    out = tmp_path / "pruned"
    pruned = runner.invoke(
        app, ["export", str(run.folder), "--to", "pruned", "--keep", "q<0.05", "--out", str(out)]
    )
    assert pruned.exit_code == 0, pruned.output
    text = runner.invoke(
        app, ["generate", str(out), "<start> t3 t5 t7 t3", "--max-tokens", "1", "--temperature", "0"]
    )
    assert text.stdout.strip().splitlines()[0].endswith("t5")
    for options, message in (
        (["--to", "pruned"], "--to pruned needs --keep"),
        (["--keep", "p<0.1"], "--keep has no effect with --to sentence-transformers"),
        (["--to", "pruned", "--keep", "p<0.1", "--rank", "3"], "no effect with --to pruned"),
    ):
        wrong = runner.invoke(app, ["export", str(run.folder), "--out", str(tmp_path / "x"), *options])
        assert wrong.exit_code == 2
        assert message in wrong.output
    with pytest.raises(ArtifactError, match="cannot prune a model; systems that can: sae-circuits"):
        export_api.export_pruned(brickwork.load(out), tmp_path / "y", "p<0.1")
    assert prune(WiredModel(), {}) == {}
