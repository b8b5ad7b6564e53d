"""Scores of words from a vector: learnt rows, or those of a language model.

Shape legend: B texts, V words, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from tokenizers import Tokenizer
from torch import Tensor, nn

from brickwork.encoders.build import find_backbone
from brickwork.encoders.causal_lm import load_causal_lm
from brickwork.encoders.config import TextEncoderConfig
from brickwork.encoders.folder_tokenizer import read_object
from brickwork.encoders.packaged import is_gguf
from brickwork.encoders.text import TextEncoder
from brickwork.objectives.contrastive import LearnedTemperature

_WARMEST, _COLDEST = 0.5, 0.02


class WordHead(nn.Module):
    """Logits cos(h, e_v) / T of V words, T learnt from 0.07 and kept in 0.02 … 0.5. ``learnt``: whether the rows e are."""

    rows: Tensor

    def __init__(self, words: int, width: int, *, learnt: bool):
        super().__init__()
        rows = torch.randn(words, width) * width**-0.5
        if learnt:
            self.rows = nn.Parameter(rows)
        else:
            self.register_buffer("rows", rows)
        self.temperature = LearnedTemperature(0.07, smallest=_COLDEST)

    def forward(self, h: Float[Tensor, "batch width"]) -> Float[Tensor, "batch words"]:
        """The logits, in float32 at least."""
        wide = torch.promote_types(h.dtype, torch.float32)
        cosines = F.normalize(h.to(wide), dim=1) @ F.normalize(self.rows.to(wide), dim=1).T
        return cosines / self.temperature().clamp(max=_WARMEST)


def pieces_of(tokenizer: Tokenizer, words: Sequence[str]) -> list[list[int]]:
    """The tokens of each word as it stands inside a text: behind a space, without marks."""
    return [
        one.ids for one in tokenizer.encode_batch([f" {word}" for word in words], add_special_tokens=False)
    ]


def mean_of_pieces(
    rows: Float[Tensor, "tokens width"], pieces: Sequence[Sequence[int]]
) -> Float[Tensor, "words width"]:
    """The mean of each word's rows. Its logit is the mean of its pieces' logits, which is what a target that divides a
    word's share equally among its pieces asks of them."""
    ids = torch.tensor([token for one in pieces for token in one], dtype=torch.int64)
    ends = torch.tensor([len(one) for one in pieces])
    starts = ends.cumsum(0) - ends
    mean: Tensor = F.embedding_bag(ids, rows, starts, mode="mean")
    return mean


@torch.no_grad()
def own_rows(encoder: TextEncoder, config: TextEncoderConfig) -> Float[Tensor, "tokens width"]:
    """The rows of a model's own head over its tokens: of a causal language model its output layer, which may be its input
    layer too; of an encoder, which has none, its input embeddings."""
    backbone = config.backbone
    folder = None if is_gguf(backbone) else find_backbone(backbone, config.revision)
    if is_gguf(backbone) or (folder is not None and is_causal(folder)):
        model: Any = load_causal_lm(backbone, config.revision).model
        return model.get_output_embeddings().weight.detach().clone()
    return input_rows(encoder).detach().clone()


def input_rows(encoder: TextEncoder) -> Float[Tensor, "tokens width"]:
    """The input embeddings of an encoder's tokens."""
    body: Any = encoder.body
    own = getattr(body, "token_embedding", None)
    weight: Tensor = (body.model.get_input_embeddings() if own is None else own).weight
    return weight


def is_causal(folder: Path) -> bool:
    """Whether a folder of transformers holds a language model with its output layer."""
    if not (folder / "config.json").is_file():
        return False
    saved = str((read_object(folder / "config.json").get("architectures") or [""])[0])
    return saved.endswith(("ForCausalLM", "LMHeadModel"))
