"""Models of others that are looked into and pruned, held to transformers' own; and the how-to, run as it stands."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import brickwork
from brickwork.api import export as export_api
from brickwork.api import train as api
from brickwork.core.config import override
from brickwork.core.errors import ArtifactError
from brickwork.modules.ablation import ablate
from brickwork.representation.kept import save_system
from brickwork.systems.sae_circuits.data import load_data
from brickwork.systems.sae_circuits.effects import heads_name
from brickwork.systems.sae_circuits.keeping import kept_heads
from brickwork.systems.sae_circuits.pruned import prune_subject
from brickwork.systems.sae_circuits.subjects import load_subject, padded
from brickwork.systems.sae_circuits.wired import wired_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")


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
    out = export_api.export_pruned(result.folder, tmp_path / "pruned", "top 3")
    assert "lm_head" not in (out / "model.safetensors").read_bytes().decode("latin-1"), "tied, so kept once"
    torch.testing.assert_close(brickwork.load(out).model(ids, mask).logits, wanted, rtol=0, atol=1e-5)
    for name, old, new in (
        ("config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-03'),
        ("tokenizer.json", '"t1"', '"t01"'),
    ):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))
        part = "settings" if name == "config.json" else "tokenizer"
        with pytest.raises(ArtifactError, match=f"differs in its {part}; run"):
            brickwork.load(result.folder).prune("top 3")
        (folder / name).write_text(text)
    with torch.no_grad():
        weights = LlamaForCausalLM.from_pretrained(folder)
        next(weights.parameters()).add_(1)
        weights.save_pretrained(folder)
    with pytest.raises(ArtifactError, match="differs in its weights; run"):
        brickwork.load(result.folder).prune("top 3")


@pytest.mark.parametrize("ablation", ["mean", "zero", "resample"])
def test_effects_and_damage_are_what_transformers_gives(tmp_path, ablation):
    """The truth is LlamaForCausalLM with eager attention, one prompt at a time, and a hook of the test's before o_proj."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(**sizes, vocab_size=21, intermediate_size=24, max_position_embeddings=32)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "llama")
    wired_tokenizer().save(str(tmp_path / "llama" / "tokenizer.json"))
    rows = [
        {
            "text": f"t{1 + n // 2 % 7} t{3 + n % 2} t5 t{8 + n // 2}",
            "answer": f"t{n // 2 % 5}",
            "wrong": "t9",
        }
        | {"label": "no" if n % 2 else "yes", "group": str(n // 2)}
        for n in range(12)
    ]
    table = tmp_path / "prompts.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [
        f"data.source={table}",
        f"model.subject={tmp_path / 'llama'}",
        f"model.ablation={ablation}",
        "model.code_steps=1",
        "model.permutations=99",
        "model.batch=5",
    ]
    run_config = override(api.recipe("sae-circuits"), settings)
    found = api.train(run_config, tmp_path / "run", measure=False).system
    columns = load_data(run_config.data, run_config.seed).train.columns
    tokenizer = wired_tokenizer()
    ids = [torch.tensor([tokenizer.encode(text).ids]) for text in columns["text"]]
    answer, wrong = (
        [tokenizer.encode(t, add_special_tokens=False).ids[0] for t in columns[n]]
        for n in ("answer", "wrong")
    )
    behaves, groups = np.asarray(columns["behaves"]), np.asarray(columns["group"])

    @torch.no_grad()
    def run(row, layer=None, head=None, value=None):
        """Log-probabilities of the next token, and what went into each o_proj."""
        gathered, hooks = [], []
        for number, block in enumerate(model.model.layers):

            def hook(_, x, number=number):
                z = x[0].clone()
                if number == layer:
                    z[..., 4 * head : 4 * head + 4] = value
                gathered.append(z[0])
                return (z,)

            hooks.append(block.self_attn.o_proj.register_forward_pre_hook(hook))
        log_p = model(ids[row]).logits[0, -1].log_softmax(-1)
        for one in hooks:
            one.remove()
        return log_p, gathered

    whole = [run(row) for row in range(len(ids))]
    average = [
        torch.cat([whole[r][1][at] for r in range(len(ids)) if not behaves[r]]).mean(0) for at in (0, 1)
    ]
    damage, drop = np.zeros((2, len(ids), 2, 4))
    for row in range(len(ids)):
        partner = next(r for r in range(len(ids)) if groups[r] == groups[row] and r != row)
        for layer, head in np.ndindex(2, 4):
            own = slice(4 * head, 4 * head + 4)
            value = {"zero": 0.0, "mean": average[layer][own], "resample": whole[partner][1][layer][:, own]}
            after, before = run(row, layer, head, value[ablation])[0], whole[row][0]
            damage[row, layer, head] = (before.exp() * (before - after)).sum()
            change = before - after
            drop[row, layer, head] = change[answer[row]] - change[wrong[row]]
    np.testing.assert_allclose(found.damage.numpy(), damage, atol=1e-5)
    np.testing.assert_allclose(found.effect.numpy(), drop[behaves].mean(0), atol=1e-5)
    assert np.abs(drop).max() > 0.05


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
    pruned = brickwork.load(export_api.export_pruned(tmp_path / "run", tmp_path / "pruned", "top 3"))
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


def test_the_how_to_cuts_heads_and_modules(tmp_path, monkeypatch):
    """Its code as it stands there, on the hand-wired model and on a small mixture; sizes against models that are kept."""
    api.train(api.recipe("sae-circuits", "smoke"), tmp_path / "runs" / "circuit", measure=False)
    (tmp_path / "texts").mkdir()
    rng = np.random.default_rng(0)
    for domain, words in (("red", "one two three four five"), ("blue", "six seven eight nine ten")):
        pieces = [" ".join(rng.choice(words.split(), 60)) for _ in range(300)]
        (tmp_path / "texts" / f"{domain}.txt").write_text("\n\n".join(pieces))
    tiny = [
        "num_layers=1",
        "width=16",
        "hidden=16",
        "attention_hidden=8",
        "attention_modules=3",
        "feed_forward_modules=4",
    ]
    settings = [f"model.{setting}" for setting in tiny] + [
        "model.vocab_size=300",
        "train.steps=3",
        "train.batch_size=4",
    ]
    settings += [f"data.source={tmp_path / 'texts'}", "train.validate_every=0", "model.router_hidden=8"]
    api.train(override(api.recipe("moduleformer"), settings), tmp_path / "runs" / "lm", measure=False)
    page = (Path(__file__).parents[2] / "docs/how-to/cut-to-a-behaviour.md").read_text()
    page = page.partition("## Groups of neurons")[0]  # tests/systems/test_emoe_pruning.py has those
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    table = names["table"]
    assert names["enough"] == 2
    assert table["heads"][-1] == 16
    assert table["parameters"] == sorted(table["parameters"])
    found = names["found"]
    assert table["parameters"][-1] == sum(p.numel() for p in found.subject.model.parameters())
    cut = brickwork.load("runs/cut")
    assert sum(p.numel() for p in cut.parameters()) == table["parameters"][table["heads"].index(2)]
    parameters, nats = zip(*names["curve"])
    assert parameters[0] > parameters[1] > parameters[2]
    assert nats[0] == pytest.approx(names["model"].evaluate(names["held_out"])["nats_per_token"])
    assert brickwork.load("runs/lm-cut").evaluate(names["held_out"])["nats_per_token"] == pytest.approx(
        nats[-1]
    )
