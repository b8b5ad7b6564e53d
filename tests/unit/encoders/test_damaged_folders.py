"""Descriptions of pretrained encoders with impossible sizes: one clear error, wherever the mistake comes to light."""

import json

import pytest
import torch

from brickwork.core.errors import ArtifactError
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import TextEncoderConfig


@pytest.mark.parametrize(
    "values", [{"hidden_size": None}, {"num_attention_heads": 0}, {"max_position_embeddings": "x"}]
)
def test_an_impossible_size_is_refused(tmp_path, values):
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=6, **sizes)).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(ArtifactError, match="was refused"):
        build_text_encoder(TextEncoderConfig(backbone=str(tmp_path)))
