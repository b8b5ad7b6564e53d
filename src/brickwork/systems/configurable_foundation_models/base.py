"""The language model that bricks change: a published one, or one from scratch."""

from brickwork.encoders.causal_lm import HubCausalLM, load_causal_lm
from brickwork.encoders.tokenization import train_text_tokenizer
from brickwork.systems.configurable_foundation_models.config import BricksConfig, OwnBase

_BYTES = 256


def load_base(config: BricksConfig) -> HubCausalLM:
    """The base that ``config`` names, with its published weights, or as it is drawn.

    Raises:
        ArtifactError: it is missing, damaged or no causal language model.
    """
    if isinstance(config.base, OwnBase):
        return _own_base(config.base, config.context)
    return load_causal_lm(config.base, config.revision)


def _own_base(own: OwnBase, context: int) -> HubCausalLM:
    """A fresh language model of bytes; its head is apart from its embeddings."""
    config = {
        "model_type": "llama", "vocab_size": _BYTES, "hidden_size": own.width, "num_hidden_layers": own.num_layers,
        "num_attention_heads": own.num_heads, "num_key_value_heads": own.num_heads, "intermediate_size": own.hidden,
        "max_position_embeddings": max(4 * context, 1024), "bos_token_id": None, "eos_token_id": None,
        "pad_token_id": None, "tie_word_embeddings": False,
    }  # fmt: skip
    return HubCausalLM(config=config, tokenizer=train_text_tokenizer(["bytes"], _BYTES))
