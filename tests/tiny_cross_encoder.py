"""A tiny random cross-encoder in a folder, as transformers writes it."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"]


def write(
    folder: Path, *, kind: str = "ForSequenceClassification", num_labels: int = 1, **config: Any
) -> Path:
    """A random BERT that scores pairs, or (``kind="Model"``) one without that head, with a tokenizer of single letters."""
    from transformers import AutoConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    parsed = AutoConfig.for_model(
        "bert", vocab_size=len(WORDS), max_position_embeddings=20, num_labels=num_labels, **sizes, **config
    )
    model = {"ForSequenceClassification": BertForSequenceClassification, "Model": BertModel}[kind](parsed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: row for row, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(folder)
    return folder
