"""Tiny random cross-encoders in the shapes that people use, written as transformers and sentence-transformers do."""

from pathlib import Path
from typing import Any

import torch

from brickwork.core.seeding import seed_everything

from .pretrained_text import DECODER, ENCODER, LENGTH, NAMED, SENTENCES, VOCAB, tokenizer

BERT = {**ENCODER, "type_vocab_size": 2}
SHAPES = {
    "bert": BERT,
    "roberta": ENCODER,
    "xlm-roberta": ENCODER,
    "modernbert": NAMED["gte-modernbert"].config,
    "electra": {**BERT, "embedding_size": 16},
    "qwen3": DECODER,  # the last token is read
}
PAIRS = [(question, text) for question in SENTENCES[:2] for text in SENTENCES] + [
    (SENTENCES[4], SENTENCES[4])
]


def write(model_type: str, folder: Path, *, num_labels: int = 1, **settings: Any) -> Path:
    """Writes the model with its tokenizer, as transformers does; ``settings`` go into its ``config.json``."""
    from tokenizers import processors
    from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

    seed_everything(0)
    config = AutoConfig.for_model(model_type, **SHAPES[model_type], num_labels=num_labels, **settings)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    plain = tokenizer()
    trained = type(plain.backend_tokenizer).from_str(plain.backend_tokenizer.to_str())
    marks = [(mark, trained.token_to_id(mark)) for mark in ("<s>", "</s>")]
    typed = "type_vocab_size" in SHAPES[model_type] and SHAPES[model_type]["type_vocab_size"] == 2
    pair = f"<s> $A </s> {'' if typed else '</s> '}$B{':1' if typed else ''} </s>{':1' if typed else ''}"
    trained.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair=pair, special_tokens=marks
    )
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]
    PreTrainedTokenizerFast(
        tokenizer_object=trained,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=LENGTH,
        model_input_names=names,
    ).save_pretrained(folder)
    assert len(trained.get_vocab()) <= VOCAB
    return folder
