"""Tiny random checkpoints in the shapes of text embedding models that people use, written as SentenceTransformer folders."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from brickwork.core.seeding import seed_everything
from brickwork.encoders.tokenization import train_tokenizer

SENTENCES = [
    "What is the capital of France?",
    "a",
    "Ünïcode, 漢字 and emoji 🙂 with a tab",
    "def f(x): return x ** 2  # code has many tokens",
    "one sentence that goes on " * 30,  # longer than the model reads
    "Paris is the capital of France.",
]
WIDTH, VOCAB, LENGTH = 16, 400, 40
SIZES = {"hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
ENCODER = {
    **SIZES,
    "vocab_size": VOCAB,
    "max_position_embeddings": LENGTH + 2,
    "pad_token_id": 1,
    "type_vocab_size": 1,
}
DECODER = {
    **{**SIZES, "vocab_size": VOCAB, "max_position_embeddings": 64, "pad_token_id": 1},
    **{"num_key_value_heads": 1, "head_dim": 8},
}
GEMMA3 = {
    **DECODER,
    "use_bidirectional_attention": True,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}


@dataclass(frozen=True)
class Shape:
    """A model type with its configuration, and the chain of modules around it."""

    model_type: str
    config: dict[str, Any]
    pooling: str = "mean"
    dense: tuple[tuple[int, bool, type[torch.nn.Module]], ...] = ()
    normalize: bool = True
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    left: bool = False
    sharded: bool = False


_MODERNBERT = {
    **SIZES,
    "vocab_size": VOCAB,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "local_attention": 8,
}
_MARKED = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
_T5 = {
    "d_model": WIDTH,
    "d_kv": 8,
    "d_ff": 24,
    "num_layers": 3,
    "num_heads": 2,
    "vocab_size": VOCAB,
    "pad_token_id": 1,
}
NAMED = {
    "bge-m3": Shape("xlm-roberta", ENCODER, "cls"),
    "multilingual-e5": Shape("xlm-roberta", ENCODER, prompts={"query": "query: ", "passage": "passage: "}),
    "gte-modernbert": Shape("modernbert", {**_MODERNBERT, **_MARKED}, "cls", normalize=False),
    "embeddinggemma": Shape(
        "gemma3_text",
        GEMMA3,
        dense=((48, False, torch.nn.Identity), (WIDTH, False, torch.nn.Identity)),
        prompts={"query": "task: search result | query: ", "document": "title: none | text: "},
    ),
    "qwen3-embedding": Shape(
        "qwen3",
        DECODER,
        "lasttoken",
        prompts={"query": "Instruct: Given a question, retrieve passages\nQuery:", "document": ""},
        left=True,
        sharded=True,
    ),
}
OTHERS = {
    "bert": Shape("bert", {**ENCODER, "type_vocab_size": 2}, "max"),
    "roberta": Shape("roberta", ENCODER, "mean_sqrt_len_tokens", normalize=False),
    "mpnet": Shape("mpnet", ENCODER, sharded=True),
    "sentence-t5": Shape("t5", _T5, dense=((24, False, torch.nn.Identity),)),
    "labse": Shape("bert", {**ENCODER, "type_vocab_size": 2}, "cls", dense=((WIDTH, True, torch.nn.Tanh),)),
    "sgpt-llama": Shape("llama", DECODER, "weightedmean", normalize=False, left=True),
    "gemma": Shape("gemma", DECODER, "lasttoken", default_prompt="passage", prompts={"passage": "text: "}),
}


@cache
def tokenizer() -> Any:
    """A fast tokenizer of transformers whose marks are not those of BERT."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    trained = train_tokenizer(
        [*SENTENCES, "task search result query passage title none text Instruct"], VOCAB
    )
    for old, new in {
        "[PAD]": "<unused>",
        "[UNK]": "<pad>",
        "[CLS]": "<s>",
        "[SEP]": "</s>",
        "[MASK]": "<mask>",
    }.items():
        trained = type(trained).from_str(trained.to_str().replace(old, new))
    marks = [(mark, trained.token_to_id(mark)) for mark in ("<s>", "</s>")]
    trained.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=trained, **names)


def write(shape: Shape, folder: Path) -> Any:
    """Writes the model as sentence-transformers does and returns its own object, opened from there."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding

    seed_everything(0)
    config = AutoConfig.for_model(shape.model_type, **shape.config)
    kind: Any = AutoModelForTextEncoding if shape.model_type == "t5" else AutoModel
    plain = folder.parent / f"{folder.name}-plain"
    model = kind.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases that do something, states that differ
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(plain, max_shard_size="20KB" if shape.sharded else "5GB")
    words = tokenizer()
    words.save_pretrained(plain)
    body = modules.Transformer(str(plain), max_seq_length=LENGTH)
    chain: list[Any] = [body, modules.Pooling(WIDTH, shape.pooling)]
    width = WIDTH
    for size, bias, activation in shape.dense:
        chain.append(modules.Dense(width, size, bias=bias, activation_function=activation()))
        width = size
    chain += [modules.Normalize()] if shape.normalize else []
    made = SentenceTransformer(
        modules=chain, device="cpu", prompts=shape.prompts, default_prompt_name=shape.default_prompt
    )
    made.save(str(folder), create_model_card=False)
    if shape.left:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "padding_side": "left"}))
    if shape.sharded:
        body.auto_model.save_pretrained(folder, max_shard_size="20KB")
        (folder / "model.safetensors").unlink()
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)
