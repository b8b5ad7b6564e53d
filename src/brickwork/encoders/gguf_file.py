"""Llama-shaped language models in a GGUF file: weights through gguf's own reader, as the model that transformers builds.

transformers opens such files too, and parses each of them three times over (17 s for SmolLM2, here 4 s); it does not know
how every tokenizer cuts texts into words (SmolLM2 cuts numbers into digits, which the file only names).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import nn

from brickwork.core.errors import ArtifactError, naming_extras
from brickwork.encoders.partial import quiet_transformers

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# The file's name of how words are cut.
_WORDS = {
    "smollm": [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
}
_CONTROL = 3  # type of a token that is no text


@naming_extras("reading a GGUF file")
def read_gguf(path: Path) -> tuple[nn.Module, Tokenizer, dict[str, str]]:
    """The ``LlamaForCausalLM`` in a GGUF file, in float32, its tokenizer, and the special tokens by role.

    Raises:
        ArtifactError: a model or tokenizer of another kind, or a damaged file.
        MissingExtraError: gguf is not installed.
    """
    import gguf

    try:
        reader = gguf.GGUFReader(path)
        values = {name: field.contents() for name, field in reader.fields.items()}
        config = _config(values, tied=all(tensor.name != "output.weight" for tensor in reader.tensors))
        tokenizer, marks = _tokenizer(values)
        state = {}
        for tensor in reader.tensors:
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
            weight = np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
            name, kind = _name(tensor.name)
            state[name] = torch.from_numpy(_halves(weight, heads[kind]) if kind in heads else weight)
    except (KeyError, ValueError, OSError, AttributeError, IndexError, TypeError) as error:
        raise ArtifactError(
            f"{path} could not be read as a Llama-shaped model ({error}); use a good copy"
        ) from error
    from transformers import LlamaForCausalLM

    build: Any = LlamaForCausalLM
    with quiet_transformers():
        model, info = build.from_pretrained(
            None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
        )
    if wrong := [*info["missing_keys"], *info["unexpected_keys"], *map(str, info["mismatched_keys"])]:
        raise ArtifactError(
            f"{path} was refused: its tensors do not fit its description: {sorted(wrong)[:4]}"
        )
    return model, tokenizer, marks


def _config(values: dict[str, Any], *, tied: bool) -> Any:
    from transformers import LlamaConfig

    kind, words = values["general.architecture"], values["tokenizer.ggml.pre"]
    if kind != "llama" or words not in _WORDS:
        raise ValueError(
            f"architecture '{kind}' with words as '{words}'; known: llama with {', '.join(_WORDS)}"
        )
    of = {name.removeprefix("llama."): value for name, value in values.items()}
    ids = {role: values.get(f"tokenizer.ggml.{role}_token_id") for role in ("bos", "eos", "padding")}
    return LlamaConfig(
        vocab_size=len(values["tokenizer.ggml.tokens"]),
        hidden_size=of["embedding_length"],
        intermediate_size=of["feed_forward_length"],
        num_hidden_layers=of["block_count"],
        num_attention_heads=of["attention.head_count"],
        num_key_value_heads=of["attention.head_count_kv"],
        max_position_embeddings=of["context_length"],
        rms_norm_eps=of["attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": of["rope.freq_base"]},
        tie_word_embeddings=tied,
        bos_token_id=ids["bos"],
        eos_token_id=ids["eos"],
        pad_token_id=ids["padding"],
    )


def _name(name: str) -> tuple[str, str]:
    """The name of a tensor in transformers, and which part of a layer it is."""
    parts = name.split(".")
    kind, end = parts[-2], parts[-1]
    layer = f"model.layers.{parts[1]}." if parts[0] == "blk" else ""
    return f"{layer}{_NAMES[kind]}.{end}", kind


def _halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key matrix in the order of transformers, which turns the first half of a head's dimensions against
    the second; the file has the pairs side by side."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)


def _tokenizer(values: dict[str, Any]) -> tuple[Tokenizer, dict[str, str]]:
    tokens = values["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in values["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(_WORDS[values["tokenizer.ggml.pre"]])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = values["tokenizer.ggml.token_type"]
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, kinds) if kind == _CONTROL])
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    ids = {role: values.get(f"tokenizer.ggml.{theirs}_token_id") for role, theirs in roles.items()}
    return tokenizer, {f"{role}_token": tokens[place] for role, place in ids.items() if place is not None}
