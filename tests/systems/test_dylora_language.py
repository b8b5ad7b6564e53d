"""DyLoRA on causal language models: to classify at the last token, and to go on learning language."""

import csv
import json
import math

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import brickwork
from brickwork.api import predict as predict_api
from brickwork.core.errors import ConfigError, DataError
from brickwork.data.config import ImageDataConfig
from brickwork.data.types import Examples
from brickwork.representation.contract import build_system
from brickwork.systems.dylora.config import DyloraConfig
from brickwork.systems.dylora.system import load_data
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
SMALL = {
    "llama": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
              "num_key_value_heads": 2, "max_position_embeddings": 64, "eos_token_id": None, "bos_token_id": None},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "eos_token_id": None, "bos_token_id": None},
}  # fmt: skip


def checkpoint(folder, kind):
    """A random language model of bytes, as transformers writes it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    letters = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=256, **SMALL[kind]))
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module", params=SMALL)
def backbone(request, tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for name in ("a", "b"):
        (folder / f"{name}.txt").write_text(
            " ".join(f"the {name} of the {name} and the {i}." for i in range(60))
        )
    return folder


def run_of(backbone, texts, **train):
    return RunConfig(
        model=DyloraConfig(task="language", backbone=str(backbone), rank=4, max_tokens=24),
        data=ImageDataConfig(source=str(texts), max_passage_words=10),
        train=TrainConfig(
            **{"steps": 30, "batch_size": 8, "learning_rate": 1e-2, "precision": "fp32", **train}
        ),
        system="dylora",
        recipe="test",
    )


@pytest.fixture(scope="module")
def trained(backbone, texts, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    brickwork.train(run_of(backbone, texts), out=out)
    return out


def test_the_loss_is_that_of_the_merged_model(backbone, texts):
    """L_b by transformers' own labels, on a model in whose weights the update of rank b stands."""
    from transformers import AutoModelForCausalLM

    run = run_of(backbone, texts)
    data = load_data(run.data, 0)
    system = build_system("dylora", run.model, data, 0).eval()
    for row in system.adapters.segments.rows:
        torch.nn.init.normal_(row, std=0.1)
    batch = {**system.collate({"input": ["a text", "another, longer text"]}), "step": 5}
    loss, b = system.loss(batch), int(system.loss(batch).stats["rank"])
    theirs = AutoModelForCausalLM.from_pretrained(backbone).eval()
    for name, layer in system.adapters.layers.items():
        theirs.get_submodule(name).weight.data += layer.delta(b)
    labels = batch["ids"].clone()
    labels[:, 1:][~batch["mask"]] = -100
    with torch.no_grad():
        logits = theirs(batch["ids"]).logits[:, :-1]
    expected = F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    torch.testing.assert_close(loss.total.detach(), expected, atol=1e-5, rtol=1e-5)


def test_perplexity_falls_at_every_rank_and_only_adapters_have_learnt(trained, backbone, texts):
    system = brickwork.load(trained)
    data = load_data(run_of(backbone, texts).data, 0)
    some = data.train.select(range(16))
    scores = system.evaluate(some)
    for rank in ("_rank_1", "_rank_2", ""):
        assert scores[f"perplexity{rank}"] < 0.98 * scores["perplexity_untouched"]
    assert scores["perplexity"] == pytest.approx(math.exp(scores["nats_per_token"]))
    assert scores["recommended_rank"] in (1, 2, 4)
    fresh = build_system("dylora", run_of(backbone, texts).model, data, 0)
    assert fresh.curve(some, [0])[0] == pytest.approx(math.log(scores["perplexity_untouched"]), rel=1e-5)
    for name, layer in system.adapters.layers.items():
        torch.testing.assert_close(layer.weight, fresh.adapters.layers[name].weight)


def test_texts_are_continued_and_draws_follow_the_seed(trained):
    def continued(seed, temperature=1.0):
        return predict_api.generate(
            trained, ["the a of"], max_tokens=8, temperature=temperature, top_k=0, seed=seed
        )

    assert continued(1) == continued(1) != continued(2)
    assert continued(1, 0.0) == continued(2, 0.0)
    with pytest.raises(ConfigError, match="the 64 that the model reads"):
        predict_api.generate(trained, ["a"], max_tokens=80, temperature=0.0, top_k=0, seed=0)


def test_peft_continues_alike_with_the_exported_adapter(trained, backbone, tmp_path):
    """At rank 2: the export, and the plain model after merging."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    system = brickwork.load(trained).eval()
    folder = system.export_peft(tmp_path / "adapter", rank=2)
    assert json.loads((folder / "adapter_config.json").read_text())["task_type"] == "CAUSAL_LM"
    assert "AutoModelForCausalLM" in (folder / "README.md").read_text()
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(backbone), str(folder)).eval()
    ids = torch.tensor([[40, 41, 42, 43]])
    with torch.no_grad(), system.adapters.rank(2):
        ours = system.encoder(ids).logits
        torch.testing.assert_close(theirs(ids).logits, ours, atol=1e-5, rtol=1e-5)
    system.adapters.merge_(2).unload_()
    with torch.no_grad():
        torch.testing.assert_close(system.encoder(ids).logits, ours, atol=1e-5, rtol=1e-5)


def test_it_classifies_at_the_last_token(backbone, tmp_path):
    table = tmp_path / "labelled.csv"
    with table.open("w", newline="") as file:
        rows = [(f"{word} {i}", word) for i in range(60) for word in ("cat", "dog")]
        csv.writer(file).writerows([("text", "label"), *rows])
    run = RunConfig(
        model=DyloraConfig(backbone=str(backbone), rank=2, max_tokens=24),
        data=ImageDataConfig(source=str(table)),
        train=TrainConfig(steps=40, batch_size=16, learning_rate=2e-2, precision="fp32"),
        system="dylora",
        recipe="test",
    )
    brickwork.train(run, out=tmp_path / "run")
    system = brickwork.load(tmp_path / "run")
    assert system.encoder.pooling == "last"
    assert system.predict({"input": ["cat 7", "dog 9"]})["label"] == ["cat", "dog"]


def test_what_does_not_go_together_is_said(backbone, texts, tmp_path):
    for change, message in (
        ({"backbone": "minilm"}, "needs a causal language model"),
        ({"classifier": "simplex"}, "classifier has no effect with task 'language'"),
        ({"label_smoothing": 0.1}, "label_smoothing has no effect with task 'language'"),
    ):
        config = DyloraConfig(**{"task": "language", "backbone": str(backbone), **change})
        assert any(message in problem for problem in config.validate())
    labelled = load_data(ImageDataConfig(source="digits", limit=20), 0)
    with pytest.raises(DataError, match="it needs text"):
        build_system("dylora", DyloraConfig(task="language", backbone=str(backbone)), labelled, 0)
    data = load_data(ImageDataConfig(source=str(texts)), 0)
    with pytest.raises(ConfigError, match="max_tokens=65 is more than the 64"):
        build_system("dylora", DyloraConfig(task="language", backbone=str(backbone), max_tokens=65), data, 0)


def test_a_text_without_tokens_costs_nothing(backbone, texts):
    run = run_of(backbone, texts)
    system = build_system("dylora", run.model, load_data(run.data, 0), 0)
    assert system.curve(Examples({"input": [""]}), [1]) == {1: 0.0}
