"""A SentenceTransformer folder as a representation."""

from pathlib import Path
from typing import Any

import torch

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError
from brickwork.core.files import load_tensors, read_json
from brickwork.encoders.hub_weights import check_weights
from brickwork.encoders.static import StaticEmbedding
from brickwork.encoders.text import TextEncoder
from brickwork.encoders.text_folder import (
    SETTINGS,
    folder_prompts,
    folder_settings,
    load_text_folder,
    module_chain,
)
from brickwork.encoders.tokenization import PAD, load_tokenizer
from brickwork.representation.model import Representation

# StaticEmbedding of sentence-transformers reads a text to its end; so long a limit means the same.
_STATIC_TOKENS = 1_000_000


def is_sentence_transformer(folder: Path) -> bool:
    """Whether ``folder`` is for here: a SentenceTransformer, or the encoder of transformers that one begins with."""
    if any((folder / name).is_file() for name in ("modules.json", SETTINGS)):
        return True
    path = folder / "config.json"
    description = read_json(path) if path.is_file() else None
    return isinstance(description, dict) and "model_type" in description


def import_sentence_transformers(folder: Path) -> Representation:
    """The model in ``folder``; its one trained size is its ``truncate_dim``, else the full one. Its prompts are kept.

    Known are Transformer → Pooling → Dense …, or StaticEmbedding, and then Normalize (which is left out: vectors are
    normalised after cutting, always).

    Raises:
        ArtifactError: files are missing, damaged or unsafe, or the chain has other parts.
    """
    chain = module_chain(folder)
    if chain and chain[0][0] == "StaticEmbedding":
        _check_end(folder, [name for name, _ in chain[1:]])
        encoder = _static(chain[0][1])
    else:
        encoder = load_text_folder(folder)
    dim = _size(folder_settings(folder).get("truncate_dim"), encoder.embedding_dim, folder)
    axes = ElasticAxes(dims=(dim,), layers=(encoder.num_layers,))
    lineage = {"source": "sentence-transformers"}
    return Representation(encoder.eval(), axes, lineage=lineage, card={}, prompts=folder_prompts(folder))


def _size(truncate_dim: Any, width: int, folder: Path) -> int:
    if truncate_dim is None:
        return width
    if type(truncate_dim) is not int or truncate_dim < 1:
        raise ArtifactError(
            f"{folder / SETTINGS} has truncate_dim={truncate_dim!r}, which is no size; use a good copy"
        )
    return min(truncate_dim, width)


def _check_end(folder: Path, names: list[str]) -> None:
    if set(names) - {"Normalize"}:
        raise ArtifactError(
            f"{folder} has {' → '.join(names)} after StaticEmbedding; only Normalize can be loaded there"
        )


def _static(folder: Path) -> TextEncoder:
    check_weights(folder)
    state = load_tensors(folder / "model.safetensors")
    weight: Any = state.get("embedding.weight")
    if set(state) != {"embedding.weight"} or weight.ndim != 2:
        raise ArtifactError(
            f"{folder / 'model.safetensors'} holds {sorted(state)}; a static embedding has one matrix "
            "'embedding.weight'"
        )
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    if tokenizer.get_vocab_size() > len(weight):
        raise ArtifactError(
            f"{folder} has vectors for {len(weight)} of its {tokenizer.get_vocab_size()} tokens"
        )
    # The padding token stands for an empty text and counts as nothing. Where the vocabulary has none, a row
    # of zeros is added for it.
    pad_id = tokenizer.token_to_id(PAD)
    if pad_id is None:
        pad_id = len(weight)
        weight = torch.cat([weight, weight.new_zeros(1, weight.shape[1])])
    with torch.device("meta"):
        body = StaticEmbedding(vocab_size=len(weight), width=weight.shape[1], pad_id=pad_id)
    body.load_state_dict({"token_embedding.weight": weight.float()}, assign=True)
    limit = (tokenizer.truncation or {}).get("max_length", _STATIC_TOKENS)
    return TextEncoder(body, tokenizer, max_tokens=limit)
