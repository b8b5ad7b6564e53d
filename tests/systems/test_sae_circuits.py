"""sae-circuits: the wired circuit is found; p-values are scipy's, codes a loop's; the pruned model is the ablated one."""

import json

import numpy as np
import pytest
import torch
from scipy import stats
from typer.testing import CliRunner

import brickwork
from brickwork.api import predict as predict_api
from brickwork.api import train as api
from brickwork.cli.main import app
from brickwork.core.config import override
from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.seeding import generator_for
from brickwork.modules.ablation import ablate
from brickwork.modules.pruning import prune
from brickwork.representation.kept import save_system
from brickwork.studies.bench import Trained
from brickwork.studies.sae_circuits import baselines, measures, small_model
from brickwork.systems.sae_circuits.codes import (
    SparseAutoencoder,
    code_p,
    code_scores,
    fit,
    mean_difference,
)
from brickwork.systems.sae_circuits.data import Data, load_data
from brickwork.systems.sae_circuits.effects import Ablations, heads_name, means_without
from brickwork.systems.sae_circuits.keeping import kept_heads
from brickwork.systems.sae_circuits.pruned import prune_subject
from brickwork.systems.sae_circuits.significance import benjamini_hochberg, permutation_p
from brickwork.systems.sae_circuits.subjects import Subject, load_subject, next_token, padded, read_prompts
from brickwork.systems.sae_circuits.system import System
from brickwork.systems.sae_circuits.wired import CIRCUIT, WiredModel, wired_tokenizer

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
    assert sum(p.numel() for p in pruned.parameters()) < 0.2 * sum(
        p.numel() for p in found.subject.model.parameters()
    )
    out = predict_api.export_pruned(run.folder, tmp_path / "pruned", "p<0.01")
    kept = brickwork.load(out)
    torch.testing.assert_close(kept.model(ids, mask).logits, wanted, rtol=0, atol=1e-5)
    assert kept.generate(["<start> t3 t5 t7 t2 t5"], max_tokens=1, temperature=0.0, top_k=0, seed=0) == ["t7"]
    assert "generate" in (out / "README.md").read_text()
    with pytest.raises(ConfigError, match="cannot be pruned"):
        type(found)(override(found.config, ["ablation=resample"]), **found.facts).prune("p<2")


def test_a_language_model_of_transformers_with_shared_keys(tmp_path):
    """A Llama-shaped folder, prompts from a file without answers; the pruned model against the ablated one."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(**sizes, vocab_size=21, intermediate_size=24, max_position_embeddings=32)
    config.tie_word_embeddings = True
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 20, 19, 20
    folder = tmp_path / "llama"
    LlamaForCausalLM(config).save_pretrained(folder)
    wired_tokenizer().save(str(folder / "tokenizer.json"))
    rows = [{"prompt": f"t1 t{n % 7} t3 t{n % 5}", "behaviour": "yes" if n % 2 else "no"} for n in range(20)]
    table = tmp_path / "prompts.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [
        f"data.source={table}",
        f"model.subject={folder}",
        "model.code_steps=5",
        "model.permutations=99",
    ]
    result = api.train(override(api.recipe("sae-circuits"), settings), tmp_path / "run")
    found = brickwork.load(result.folder)
    assert found.effect.shape == (2, 4)
    assert bool((found.effect >= 0).all()), "without answers it is the mean KL"
    pruned = found.prune("top 3")
    kept = kept_heads({"effect": found.effect}, "top 3")
    gone = {
        heads_name(layer): {tuple(h for h in range(4) if (layer, h) not in kept): "mean"}
        for layer in range(2)
    }
    ids, mask = padded([[1, 2, 3], [4, 5, 6]])
    means = {heads_name(layer): found.means[layer] for layer in range(2)}
    with torch.no_grad(), ablate(found.subject.model, gone, means=means):
        wanted = found.subject.model(ids, mask).logits
    torch.testing.assert_close(pruned.model(ids, mask).logits, wanted, rtol=0, atol=1e-5)
    out = predict_api.export_pruned(result.folder, tmp_path / "pruned", "top 3")
    assert "lm_head" not in (out / "model.safetensors").read_bytes().decode("latin-1"), "tied, so kept once"
    torch.testing.assert_close(brickwork.load(out).model(ids, mask).logits, wanted, rtol=0, atol=1e-5)
    with torch.no_grad():
        weights = LlamaForCausalLM.from_pretrained(folder)
        next(weights.parameters()).add_(1)
        weights.save_pretrained(folder)
    with pytest.raises(ArtifactError, match="weights have changed"):
        brickwork.load(result.folder).prune("top 3")


GPT2 = {
    "vocab_size": 21,
    "n_positions": 24,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 4,
    "bos_token_id": 20,
    "eos_token_id": 20,
}


def test_a_run_with_adapters_is_looked_into_as_the_merged_model(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    folder = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(**GPT2)).save_pretrained(folder)
    wired_tokenizer().save(str(folder / "tokenizer.json"))
    (tmp_path / "texts.txt").write_text("".join(f"t{n % 19} t{n % 7} t3 t4\n\n" * 3 for n in range(40)))
    settings = [f"data.source={tmp_path / 'texts.txt'}", f"model.backbone={folder}", "model.max_tokens=8"]
    steps = [
        "train.steps=3",
        "train.learning_rate=0.1",
        "train.validate_every=0",
        "model.rank=2",
        "data.test_share=0.4",
        "data.validation_share=0.0",
    ]
    api.train(override(api.recipe("dylora", "language"), [*settings, *steps]), tmp_path / "lm", measure=False)
    tuned = brickwork.load(tmp_path / "lm")
    assert tuned.encoder.model.lm_head.weight is tuned.encoder.model.transformer.wte.weight, (
        "tied, as it was built"
    )
    subject = load_subject(str(tmp_path / "lm"))
    ids = torch.tensor([[1, 2, 3, 9], [4, 5, 6, 0]])
    with torch.no_grad():
        wanted = tuned.encoder(ids).logits
        untouched = GPT2LMHeadModel.from_pretrained(folder).eval()(ids).logits
        torch.testing.assert_close(subject.model(ids).logits, wanted, rtol=0, atol=1e-5)
    assert float((wanted - untouched).abs().max()) > 1e-2
    everything = prune_subject(subject, {(0, 0), (1, 2)}, torch.zeros(2, 4, 4), "zero", why="test")
    out = save_system(everything, tmp_path / "pruned")
    torch.testing.assert_close(brickwork.load(out).model(ids).logits, everything.model(ids).logits)


def test_a_pruned_gpt2_is_what_transformers_computes_with_the_mean_in_place_of_the_heads(tmp_path):
    """The truth is transformers' own model; a hook of the test's puts the mean that it measured itself into c_proj."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(**GPT2)
    folder = tmp_path / "gpt2"
    GPT2LMHeadModel(config).save_pretrained(folder)
    wired_tokenizer().save(str(folder / "tokenizer.json"))
    rows = [{"text": f"t{n} t3" + " t4" * (n % 3), "label": "yes" if n % 2 else "no"} for n in range(18)]
    (tmp_path / "prompts.csv").write_text(
        "text,label\n" + "".join(f"{r['text']},{r['label']}\n" for r in rows)
    )
    settings = [f"data.source={tmp_path / 'prompts.csv'}", f"model.subject={folder}", "model.code_steps=1"]
    run_config = override(api.recipe("sae-circuits"), [*settings, "model.permutations=99"])
    found = api.train(run_config, tmp_path / "run").system
    pruned = brickwork.load(predict_api.export_pruned(tmp_path / "run", tmp_path / "pruned", "top 3"))
    gone = [head for head in range(8) if divmod(head, 4) not in kept_heads({"effect": found.effect}, "top 3")]
    truth = GPT2LMHeadModel.from_pretrained(folder).eval()
    seen = [[], []]
    columns = load_data(run_config.data, run_config.seed).train.columns
    without = [text for text, behaves in zip(columns["text"], columns["behaves"]) if not behaves]
    with torch.no_grad():
        for layer, block in enumerate(truth.transformer.h):
            block.attn.c_proj.register_forward_pre_hook(lambda _, x, own=seen[layer]: own.append(x[0][0]))
        for text in without:
            truth(torch.tensor([wired_tokenizer().encode(text).ids]))
        means = [torch.cat(own).mean(0) for own in seen]
        for layer, block in enumerate(truth.transformer.h):

            def replaced(_, x, layer=layer):
                z = x[0].clone()
                for head in gone:
                    if head // 4 == layer:
                        at = slice(4 * (head % 4), 4 * (head % 4) + 4)
                        z[..., at] = means[layer][at]
                return (z,)

            block.attn.c_proj.register_forward_pre_hook(replaced)
        ids = torch.randint(0, 21, (3, 7))
        torch.testing.assert_close(pruned.model(ids).logits, truth(ids).logits, rtol=0, atol=1e-5)


def test_p_values_are_those_of_scipy():
    """Independent shuffles: scipy's permutation test with all assignments; BH: scipy's adjustment."""
    rng = np.random.default_rng(0)
    damage = rng.exponential(size=(8, 5)) + np.outer([1] * 4 + [0] * 4, np.linspace(0, 1, 5))
    behaves = np.array([True] * 4 + [False] * 4)
    p = permutation_p(damage, behaves, list(range(8)), permutations=20_000, seed=0)

    def difference(a, b, axis=0):
        return a.mean(axis) - b.mean(axis)

    exact = stats.permutation_test(
        (damage[:4], damage[4:]), difference, alternative="greater", n_resamples=np.inf, vectorized=True
    )
    np.testing.assert_allclose(p, exact.pvalue, atol=0.012)
    pairs = stats.permutation_test(
        (damage[:4], damage[4:]),
        difference,
        alternative="greater",
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    p = permutation_p(damage, behaves, [0, 1, 2, 3] * 2, permutations=20_000, seed=0)
    np.testing.assert_allclose(p, pairs.pvalue, atol=0.012)
    q = rng.uniform(size=30)
    np.testing.assert_allclose(benjamini_hochberg(q), stats.false_discovery_control(q))


def test_a_null_gives_even_p_values():
    rng = np.random.default_rng(1)
    damage = rng.exponential(size=(40, 200))
    p = permutation_p(damage, rng.permutation(40) < 20, list(range(40)), permutations=999, seed=0)
    assert stats.kstest(p, "uniform").pvalue > 0.01


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


def test_texts_of_the_small_model_are_true_and_its_words_known():
    rng = np.random.default_rng(0)
    tokenizer = small_model.word_tokenizer()
    for number, (before, after) in enumerate(text for _ in range(60) for text in small_model.texts(rng)):
        assert 0 not in tokenizer.encode(before + after).ids, "an unknown word"
        if number % 4 == 0:
            names = [word for word in before.replace(",", "").split() if word.strip() in sae_names()]
            assert after.strip() in names
            assert names.count(after.strip()) == 1, "the name that comes once"
        if number % 4 == 1:
            century, start = (before.split("year ")[1][:2], before.split("year ")[1][2:4])
            assert before.endswith(century)
            assert start < after <= "99"
        if number % 4 == 2:
            assert f"{after.strip()}" in before.split(")")[0]
    one, again, other = (small_model.small_model(1, seed).embedding.weight for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def sae_names():
    from brickwork.systems.sae_circuits.prompts import _NAMES

    return _NAMES


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


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Data(source=str(path))


def test_bad_files_are_refused(tmp_path):
    good = [{"text": f"t{n}", "label": "yes" if n % 2 else "no"} for n in range(20)]
    path = tmp_path / "prompts.jsonl"
    cases = [
        ([{"text": "a"}], "no column for label .label or behaviour"),
        ([{"words": "a", "label": "yes"}], "no column for text"),
        ([*good, {"text": "t1", "label": "perhaps"}], r"row 21: label is 'perhaps'; write yes"),
        ([*good, {"text": "  ", "label": "yes"}], r"row 21: the column 'text' is empty"),
        (good[:4], "too few for a p-value"),
        ([{**row, "label": "yes"} for row in good], "0 prompts with label no to learn from"),
        (
            [*good, {**good[0], "label": "yes"}],
            r"rows 1 and 21 have the same text \('t0'\), once with and once without",
        ),
        (
            [{**good[0], "text": ["t1", "t2"]}],
            r"row 1: text is \['t1', 't2'\], a nested value; write one text",
        ),
        (
            [*good, {"text": "t", "label": "no", "wrong": " t1"}],
            "row 21: 'wrong' says what would be wrong, and no answer",
        ),
    ]
    for rows, message in cases:
        with pytest.raises(DataError, match=message):
            load_data(write(path, rows), 0)
    with pytest.raises(DataError, match="no file of prompts and no made-up set"):
        load_data(Data(source="ioy"), 0)
    with pytest.raises(DataError, match="no column 'answr' for answer"):
        load_data(Data(source=str(path), answer="answr"), 0)
    subject = load_subject("wired")
    columns = {"behaves": [True], "group": [0], "answer": [" t1"], "wrong": [" t1"], "text": ["t1 t2"]}
    with pytest.raises(DataError, match="begin with the same token"):
        read_prompts(subject, columns)
    with pytest.raises(DataError, match="has 30 tokens; wired reads 1 to 18"):
        read_prompts(subject, {**columns, "wrong": [""], "text": ["t1 " * 30]})
    with pytest.raises(DataError, match=r"row 7 \('t1 t1"):
        read_prompts(subject, {**columns, "wrong": [""], "text": ["t1 " * 30], "row": [7]})
    with pytest.raises(ArtifactError, match=r"model.subject=/no/where: .* is not a folder"):
        load_subject("/no/where")
    with pytest.raises(ConfigError, match=r"model.subject=m: Linear has no stack of layers"):
        Subject("m", torch.nn.Linear(2, 2), {}).shape  # noqa: B018
    lonely = read_prompts(subject, {**columns, "wrong": [""]})
    with pytest.raises(DataError, match=r"not one partner.*model.ablation=resample needs"):
        lonely.partners()
    with pytest.raises(ConfigError, match="has no effect with subject 'smollm2-135m'"):
        override(api.recipe("sae-circuits"), ["model.distractor=2"])


def test_prompts_given_twice_are_no_further_evidence(tmp_path):
    """A copy of every pair, once under the same name and once under another, and a row that stands twice in its group."""
    pairs = [
        {"text": f"t{n} {word}", "label": label, "group": n}
        for n in range(12)
        for word, label in (("a", "yes"), ("b", "no"))
    ]
    once = load_data(write(tmp_path / "once.jsonl", pairs), 0)
    again = [{**row, "group": row["group"] + 100} for row in pairs]
    many = load_data(write(tmp_path / "many.jsonl", [*pairs, *again, *pairs, pairs[0]]), 0)
    assert once.notes == ()
    assert many.notes == ("left out: 49 of 73 prompts, which say again what others say",)
    for column in ("text", "group", "row"):
        assert list(many.train.columns[column]) == list(once.train.columns[column])
    # A text that stands in two pairs is kept: its partners differ.
    shared = load_data(write(tmp_path / "shared.jsonl", [*pairs, {**pairs[0], "group": 1}]), 0)
    assert len(shared.train) + len(shared.test) + len(shared.validation) == 25


def test_what_a_reader_of_the_file_would_ask_is_noted(tmp_path):
    good = [{"text": f"t{n}", "label": "yes" if n % 2 else "no", "answer": " a"} for n in range(20)]
    cases = [
        (
            [{**row, "text": row["text"] + " "} for row in good],
            "20 of 20 prompts end with a space (first: row 1)",
        ),
        ([{**row, "answer": "a"} for row in good], "20 answers follow their prompt without a space"),
        (
            [*good, {"text": "u", "label": "yes"}],
            "1 of 11 prompts with the behaviour have no answer (first: row 21)",
        ),
        (good, ""),
        ([{**row, "answer": None} for row in good], ""),
    ]
    for rows, start in cases:
        notes = load_data(write(tmp_path / "prompts.jsonl", rows), 0).notes
        assert [note[: len(start)] for note in notes] == ([start] if start else [])


def test_a_prompt_that_is_too_long_is_refused_before_anything_is_measured():
    task = load_data(Data(source="wired", validation_share=0.0, test_share=0.5), 0)
    task.test.columns["text"][3] = "t1 " * 30
    config = override(api.recipe("sae-circuits", "smoke"), []).model
    with pytest.raises(DataError, match="has 30 tokens; wired reads 1 to 18"):
        System.build(config, task, None, 0)


def test_docstring_prompts_ask_for_the_third_argument():
    """The behaviour by hand, from the text alone: arguments of the first line, of which the two described come first."""
    columns = load_data(Data(source="docstring", made_up=30, test_share=0.0), 0).train.columns
    for text, behaves, answer, wrong in zip(
        *(columns[name] for name in ("text", "behaves", "answer", "wrong"))
    ):
        given = text.split("(self, ")[1].split(")")[0].split(", ")
        described = [
            line.split()[1].rstrip(":")
            for line in text.splitlines()
            if line.count(":param") and line.count(":") == 2
        ]
        assert len(given) == 4
        assert len(set(given) | set(described)) == (4 if behaves else 6)
        assert (described == given[:2]) == behaves
        assert (answer == f" {given[2]}" and wrong == f" {given[3]}") == behaves
        assert behaves or {answer.strip(), wrong.strip()}.isdisjoint({*given, *described})


def test_made_up_prompts_differ_where_they_should():
    for source in ("ioi", "greater-than"):
        columns = load_data(Data(source=source, made_up=40), 0).train.columns
        by_group = {}
        for text, behaves, group in zip(columns["text"], columns["behaves"], columns["group"]):
            by_group.setdefault(int(group), {})[bool(behaves)] = text
        for pair in by_group.values():
            ours, theirs = pair[True].split(), pair[False].split()
            assert len(ours) == len(theirs)
            assert sum(a != b for a, b in zip(ours, theirs)) == 1


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
        predict_api.export_pruned(brickwork.load(out), tmp_path / "y", "p<0.1")
    assert prune(WiredModel(), {}) == {}
