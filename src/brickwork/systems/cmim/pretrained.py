"""Informative embeddings of texts from a pretrained encoder-decoder, without any training (arXiv 2502.19642, claim A2).

h(x): the decoder's states just before the layer that gives its distribution, with the true text fed in, averaged over its
tokens. The paper takes them from any encoder-decoder; here from T5, BART and their heirs.
"""

from pathlib import Path

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.encoders.build import find_backbone
from brickwork.encoders.folder_tokenizer import folder_tokenizer
from brickwork.encoders.hub_seq2seq import DecoderStates
from brickwork.encoders.hub_weights import check_weights, read_pretrained
from brickwork.encoders.text import TextEncoder
from brickwork.representation.model import Representation

_HEADS = ("lm_head", "final_logits_bias")  # what is above the states


def informative_representation(
    backbone: str | Path, *, revision: str | None = None, max_tokens: int = 256
) -> Representation:
    """The informative embeddings of an encoder-decoder in a folder or on the hub, to be saved, indexed and searched with.

    Texts are cut to ``max_tokens``. Depths are those of the decoder; only the full one is meant to be good.

    Raises:
        ArtifactError: it is missing, damaged, unsafe, or no encoder-decoder of texts.
        ConfigError: it has fewer positions than ``max_tokens``.
    """
    from transformers import AutoModel

    folder = find_backbone(str(backbone), revision)
    if folder is None:
        raise ArtifactError(
            f"'{backbone}' is no model that was trained; give a folder or a hub id of T5, BART …"
        )
    check_weights(folder)
    body = DecoderStates.of(read_pretrained(AutoModel, folder, may_have=lambda name: name.startswith(_HEADS)))
    if body.max_positions is not None and max_tokens > body.max_positions:
        raise ConfigError(
            f"max_tokens={max_tokens} is more than the {body.max_positions} of {folder}; use at most these"
        )
    tokenizer, marks = folder_tokenizer(folder, as_it_is=False, lower_case=False)
    encoder = TextEncoder(body, tokenizer, pooling="mean", max_tokens=max_tokens, marks=marks)
    axes = ElasticAxes(dims=(encoder.embedding_dim,), layers=(encoder.num_layers,))
    lineage = {"source": "informative embeddings of an encoder-decoder"}
    return Representation(encoder.eval(), axes, lineage=lineage, card={})
