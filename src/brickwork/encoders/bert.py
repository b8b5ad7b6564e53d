"""Weights and configuration of BERT-shaped checkpoints (BERT, RoBERTa, XLM-R), to and from our transformer.

RoBERTa and its heirs number positions from the one after the padding token's id: the rows before are never read and are
left out. BERT adds a vector for the segment (``token_type``) to every token. With one text there is one segment, so its
vector is folded into the position embeddings on loading; on export it is zero.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.encoders.blocks.transformer import Transformer
from brickwork.encoders.text import TextEncoder

_EMBEDDINGS = {
    "token_embedding.weight": "embeddings.word_embeddings.weight",
    "position_embedding.weight": "embeddings.position_embeddings.weight",
    "embedding_norm.weight": "embeddings.LayerNorm.weight",
    "embedding_norm.bias": "embeddings.LayerNorm.bias",
}
_TOKEN_TYPE = "embeddings.token_type_embeddings.weight"
_LAYER = {
    "attention.out": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
_ROBERTA = ("roberta", "xlm-roberta", "camembert")
_QKV = tuple(f"attention.self.{part}" for part in ("query", "key", "value"))
# Buffers and task heads: nothing that changes the hidden states.
_IGNORED = re.compile(r"(embeddings\.position_ids$|pooler\.|cls\.|lm_head\.|classifier\.|qa_outputs\.)")


def is_bert_shaped(config: Mapping[str, Any]) -> bool:
    """Whether a Hugging Face ``config.json`` describes what our transformer computes."""
    return (
        config.get("model_type") in ("bert", *_ROBERTA)
        and config.get("hidden_act", "gelu") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder", False)
    )


def position_offset(config: Mapping[str, Any]) -> int:
    """The row of the position embeddings that belongs to the first token."""
    return config.get("pad_token_id", 1) + 1 if config.get("model_type") in _ROBERTA else 0


def transformer_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """What to build :class:`Transformer` with for a BERT or RoBERTa ``config.json``.

    Raises:
        ArtifactError: a field is missing.
    """
    names = {
        "vocab_size": "vocab_size",
        "width": "hidden_size",
        "num_layers": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "mlp_width": "intermediate_size",
        "max_positions": "max_position_embeddings",
    }
    missing = [theirs for theirs in names.values() if theirs not in config]
    if missing:
        raise ArtifactError(f"config.json lacks {missing}; the model folder is incomplete")
    arguments = {ours: config[theirs] for ours, theirs in names.items()}
    arguments["max_positions"] -= position_offset(config)
    return {**arguments, "norm_eps": config.get("layer_norm_eps", 1e-12)}


def from_bert_state_dict(
    state: Mapping[str, Tensor], num_layers: int, first_position: int = 0
) -> dict[str, Tensor]:
    """The state of :class:`Transformer` with ``num_layers`` layers from a BERT or RoBERTa checkpoint.

    Deeper layers are left out, and so are positions before ``first_position`` (:func:`position_offset`).

    Raises:
        ArtifactError: with the names of tensors that are missing or not understood.
    """
    source = {re.sub(r"^(bert|roberta)\.", "", name): tensor for name, tensor in state.items()}
    # Old checkpoints call the norm's weight and bias gamma and beta.
    source = {re.sub(r"gamma$", "weight", re.sub(r"beta$", "bias", n)): t for n, t in source.items()}
    names: dict[str, tuple[str, ...]] = {ours: (theirs,) for ours, theirs in _EMBEDDINGS.items()}
    for layer in range(num_layers):
        for end in ("weight", "bias"):
            prefix = f"encoder.layer.{layer}."
            names[f"blocks.{layer}.attention.qkv.{end}"] = tuple(f"{prefix}{part}.{end}" for part in _QKV)
            for ours, theirs in _LAYER.items():
                names[f"blocks.{layer}.{ours}.{end}"] = (f"{prefix}{theirs}.{end}",)
    wanted = {name for parts in names.values() for name in parts} | {_TOKEN_TYPE}
    missing = sorted(wanted - set(source))
    unexpected = sorted(
        name for name in set(source) - wanted if not _IGNORED.match(name) and not _deeper(name, num_layers)
    )
    if missing or unexpected:
        raise ArtifactError(
            f"the weights are not those of a BERT: missing {missing}, unexpected {unexpected}"
        )
    result = {name: torch.cat([source[part] for part in parts]).float() for name, parts in names.items()}
    positions = result["position_embedding.weight"]
    result["position_embedding.weight"] = positions[first_position:] + source[_TOKEN_TYPE][0].float()
    return result


def _deeper(name: str, num_layers: int) -> bool:
    match = re.match(r"encoder\.layer\.(\d+)\.", name)
    return match is not None and int(match[1]) >= num_layers


def _bert_body(encoder: TextEncoder) -> Transformer:
    body = encoder.body
    if (
        not isinstance(body, Transformer)
        or body.arguments["norm"] != "post"
        or body.arguments["exit_norm"] != "none"
    ):
        raise ConfigError(
            "only a post-norm transformer without exit norms can be written as BERT; this encoder's body is "
            f"'{body.kind}' with { ({k: v for k, v in body.arguments.items() if 'norm' in k}) }"
        )
    return body


def to_bert_state_dict(encoder: TextEncoder, layers: int | None = None) -> dict[str, Tensor]:
    """The weights under the names of transformers' ``BertModel``, cut to ``layers``.

    The pooler, which no sentence encoder uses, is written as zeros so that readers do not report it missing.

    Raises:
        ConfigError: the encoder is not BERT-shaped.
    """
    state = _bert_body(encoder).state_dict()
    width = encoder.body.width
    theirs = {name: state[ours].detach() for ours, name in _EMBEDDINGS.items()}
    theirs[_TOKEN_TYPE] = torch.zeros(2, width, dtype=theirs["embeddings.word_embeddings.weight"].dtype)
    for layer in range(encoder.num_layers if layers is None else layers):
        for end in ("weight", "bias"):
            fused = state[f"blocks.{layer}.attention.qkv.{end}"]
            for part, tensor in zip(_QKV, fused.chunk(3)):
                theirs[f"encoder.layer.{layer}.{part}.{end}"] = tensor.contiguous()
            for ours, name in _LAYER.items():
                theirs[f"encoder.layer.{layer}.{name}.{end}"] = state[f"blocks.{layer}.{ours}.{end}"]
    theirs["pooler.dense.weight"] = torch.zeros(width, width)
    theirs["pooler.dense.bias"] = torch.zeros(width)
    return theirs


def bert_config(encoder: TextEncoder, layers: int | None = None) -> dict[str, Any]:
    """A Hugging Face ``config.json`` for the encoder, cut to ``layers``.

    Raises:
        ConfigError: the encoder is not BERT-shaped.
    """
    arguments = _bert_body(encoder).arguments
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": arguments["width"],
        "intermediate_size": arguments["mlp_width"],
        "layer_norm_eps": arguments["norm_eps"],
        "max_position_embeddings": arguments["max_positions"],
        "num_attention_heads": arguments["num_heads"],
        "num_hidden_layers": encoder.num_layers if layers is None else layers,
        "hidden_dropout_prob": arguments["dropout"],
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": encoder.pad_id,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "vocab_size": arguments["vocab_size"],
        "initializer_range": 0.02,
        "dtype": "float32",
    }
