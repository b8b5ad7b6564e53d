"""Adapters of any rank, loaded by Hugging Face's peft itself: the same outputs, and its LoRA algebra as the oracle."""

import copy
import json

import pytest
import torch
from torch import nn

from brickwork.core.errors import ConfigError
from brickwork.modules.adapters import inject_lora
from brickwork.representation.export_peft import export_peft

peft = pytest.importorskip("peft")
# peft 0.21 asks a model for a property that transformers 5 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def bert():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return BertModel(config, add_pooling_layer=False).eval()


def gpt2():
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=16)
    return GPT2Model(config).eval()


def filled(model, **options):
    adapters = inject_lora(model, rank=4, alpha=6.0, **options)
    for row in adapters.segments.rows:
        nn.init.normal_(row, std=0.3)
    return adapters


@pytest.mark.parametrize("scaling", ["alpha/b", "alpha/r", "alpha/sqrt(b)"])
@pytest.mark.parametrize("build", [bert, gpt2])
def test_peft_computes_the_same_at_every_rank(build, scaling, tmp_path):
    ids = torch.arange(12).view(2, 6)
    model = build()
    model.save_pretrained(tmp_path / "backbone")
    plain = build()(input_ids=ids).last_hidden_state
    adapters = filled(model, scaling=scaling)
    for b in (1, 3, 4):
        export_peft(adapters, tmp_path / f"rank{b}", b, base=str(tmp_path / "backbone"))
        from transformers import AutoModel

        backbone = AutoModel.from_pretrained(tmp_path / "backbone").eval()
        theirs = peft.PeftModel.from_pretrained(backbone, tmp_path / f"rank{b}").eval()
        with torch.no_grad(), adapters.rank(b):
            ours = model(input_ids=ids).last_hidden_state
        results = theirs(input_ids=ids).last_hidden_state
        assert (ours - plain).abs().max() > 1e-2
        torch.testing.assert_close(results, ours, rtol=1e-5, atol=1e-6)
        merged = theirs.merge_and_unload()(input_ids=ids).last_hidden_state
        torch.testing.assert_close(merged, ours, rtol=1e-4, atol=1e-5)


def test_peft_computes_the_same_on_a_network_of_convolutions(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 5))
    x = torch.randn(2, 3, 4, 4)
    untouched = copy.deepcopy(net)
    adapters = filled(net)
    export_peft(adapters, tmp_path / "adapter", 2)
    theirs = peft.PeftModel.from_pretrained(untouched, tmp_path / "adapter").eval()
    with adapters.rank(2):
        torch.testing.assert_close(theirs(x), net(x))


def test_the_folder_is_an_ordinary_lora(tmp_path):
    adapters = filled(bert())
    head = {"weight": torch.zeros(2, 32), "bias": torch.zeros(2)}
    folder = export_peft(
        adapters, tmp_path / "a", 2, base="some/model", head=head, about_head={"classes": ["x", "y"]}
    )
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (2, 6, "some/model")
    loaded = peft.LoraConfig.from_pretrained(folder)
    assert loaded.target_modules == {
        f"encoder.layer.{i}.attention.self.{part}" for i in (0, 1) for part in ("query", "value")
    }
    assert json.loads((folder / "head.json").read_text()) == {"classes": ["x", "y"]}
    assert "AutoModel.from_pretrained('some/model')" in (folder / "README.md").read_text()
    with pytest.raises(ConfigError, match="1 … 4"):
        export_peft(adapters, tmp_path / "b", 5)
    assert not (tmp_path / "b").exists()
