"""Informative embeddings of texts from a pretrained encoder-decoder, without any training (arXiv 2502.19642, claim A2).

h(x): the decoder's states just before the layer that gives its distribution, with the true text fed in, averaged over its
tokens. The paper takes them from any encoder-decoder; here from T5, BART and their heirs. On the command line:
``brickwork export models/t5 --to decoder-states --out runs/t5-states``.
"""

from pathlib import Path

from brickwork.representation.import_decoder_states import import_decoder_states
from brickwork.representation.model import Representation


def informative_representation(
    backbone: str | Path, *, revision: str | None = None, max_tokens: int = 256
) -> Representation:
    """h of an encoder-decoder in a folder or on the hub: :func:`import_decoder_states`, and raises as that."""
    return import_decoder_states(backbone, revision=revision, max_tokens=max_tokens)
