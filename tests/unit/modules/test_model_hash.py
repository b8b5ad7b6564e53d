"""Hashes of models: whatever changes the logits or the ids changes them, and nothing else does.

What changes an answer is not taken from us: each changed model is asked, and its logits differ.
"""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from brickwork.encoders.blocks.mlp import Mlp
from brickwork.modules.adapters import inject_lora
from brickwork.modules.decoders import AttentionForm, DecoderBlock, DecoderLM, SharedHeads
from brickwork.modules.model_hash import differences, differing, model_hash

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
LLAMA = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64}
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


def language_model(kind="llama", seed=0, **changes):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    sizes = {"llama": LLAMA, "gpt2": GPT2}[kind]
    given = {"vocab_size": 32, "bos_token_id": None, "eos_token_id": None, **sizes, **changes}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **given)).eval().requires_grad_(False)


def words(unknown="a"):
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("llama", {"hidden_act": "gelu"}),
        ("llama", {"rms_norm_eps": 1e-2}),
        ("llama", {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8}),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}}),
        ("gpt2", {"activation_function": "relu"}),
        ("gpt2", {"layer_norm_epsilon": 1e-2}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}),
        ("gpt2", {"n_head": 2}),
    ],
)
def test_other_settings_with_the_same_weights_are_another_model(kind, change):
    plain, other = language_model(kind), language_model(kind, **change)
    other.load_state_dict(plain.state_dict())
    assert not torch.equal(plain(IDS).logits, other(IDS).logits)
    assert differing(model_hash(plain), model_hash(other)) == ["settings"]


def test_weights_and_tokenizer_count_and_what_is_on_the_model_does_not():
    model = language_model()
    plain = model_hash(model, words())
    assert plain == model_hash(language_model(), words())
    assert differing(plain, model_hash(language_model(seed=1), words())) == ["weights"]
    other = model_hash(language_model(seed=1), words("b"))
    assert differences(plain, other) == "its weights and its tokenizer"
    assert differing(plain, model_hash(model)) == [], "a tokenizer that is not known is not compared"
    padding = words()
    padding.enable_padding()
    padding.post_processor = processors.TemplateProcessing("$A", "$A $B:1", [])
    assert model_hash(model, padding) == plain, "it reads every text alike"
    padding.post_processor = processors.TemplateProcessing("$A b", "$A $B:1", [("b", 1)])
    assert differing(model_hash(model, padding), plain) == ["tokenizer"]
    adapters = inject_lora(model, rank=2)
    assert model_hash(model, words()) == plain
    adapters.unload_()
    next(model.parameters()).data.view(-1)[0] += 1e-3
    assert differing(model_hash(model, words()), plain) == ["weights"]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_model_that_was_saved_is_the_same(tmp_path, kind):
    from transformers import AutoModelForCausalLM

    from brickwork.encoders.causal_lm import load_causal_lm

    model = language_model(kind)
    model.save_pretrained(tmp_path)
    words().save(str(tmp_path / "tokenizer.json"))
    assert model_hash(AutoModelForCausalLM.from_pretrained(tmp_path)) == model_hash(model)
    ours = load_causal_lm(tmp_path)
    again = type(ours).from_architecture(ours.architecture(), ours.tokenizer.to_str())
    again.load_state_dict(ours.state_dict())
    assert model_hash(again.model, again.tokenizer) == model_hash(ours.model, ours.tokenizer)


def test_decoders_of_ours_are_told_apart_by_what_their_parts_are_set_to():
    def decoder(**changes):
        torch.manual_seed(0)
        attention = SharedHeads(16, AttentionForm(hidden=16, num_heads=2, **changes), groups=1)
        return DecoderLM(32, 16, [DecoderBlock(16, attention, Mlp(16, 24))]).eval()

    plain = decoder()
    for changed in (decoder(attend_current=False), decoder(position="rope")):
        assert not torch.equal(plain(IDS).logits, changed(IDS).logits)
        assert differing(model_hash(plain), model_hash(changed)) == ["settings"]
    assert model_hash(plain) == model_hash(decoder())
    adapters = inject_lora(plain, "query", rank=2)
    assert model_hash(plain) == model_hash(decoder())
    adapters.unload_()
    other = decoder()
    other.norm.eps = 0.5
    assert not torch.equal(plain(IDS).logits, other(IDS).logits)
    assert differing(model_hash(plain), model_hash(other)) == ["settings"]
