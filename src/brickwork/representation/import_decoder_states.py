"""The decoder's states of a pretrained encoder-decoder (T5, BART and their heirs) as an embedding model of texts.

A text is read by the encoder and fed to the decoder as well; its vector is the mean, over its tokens, of the decoder's
states just before the layer that gives its distribution. arXiv 2502.19642 calls these *informative embeddings* and takes
them from any encoder-decoder, without training. What the encoder gives is another model: that of the folder as it is.
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
_MAX_TOKENS = 256


def import_decoder_states(
    backbone: str | Path, *, revision: str | None = None, max_tokens: int | None = None
) -> Representation:
    """The decoder's states of an encoder-decoder in a folder or on the hub, to be saved, indexed and searched with.

    Texts are cut to ``max_tokens`` (None: 256, or as many as the model has positions). Depths are those of the decoder;
    only the full one is meant to be good.

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
    positions = body.max_positions
    if max_tokens is not None and positions is not None and max_tokens > positions:
        raise ConfigError(
            f"max_tokens={max_tokens} is more than the {positions} of {folder}; use at most these"
        )
    limit = max_tokens or min(_MAX_TOKENS, positions or _MAX_TOKENS)
    tokenizer, marks = folder_tokenizer(folder, as_it_is=False, lower_case=False)
    encoder = TextEncoder(body, tokenizer, pooling="mean", max_tokens=limit, marks=marks)
    axes = ElasticAxes(dims=(encoder.embedding_dim,), layers=(encoder.num_layers,))
    lineage = {"source": "informative embeddings of an encoder-decoder"}
    return Representation(encoder.eval(), axes, lineage=lineage, card={})
