"""Tiny random transformers of every shape: transformers' own, our encoder, our decoder."""

import torch

from brickwork.core.types import TokenBatch
from brickwork.encoders.blocks.mlp import Mlp
from brickwork.encoders.blocks.transformer import Transformer
from brickwork.modules.decoders import AttentionForm, DecoderBlock, DecoderLM, ExpertFeedForward, SharedHeads
from brickwork.modules.routers import TopKRouter

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
WORDS = {**SIZES, "vocab_size": 50, "pad_token_id": 0, "max_position_embeddings": 32}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
DISTIL = {"vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24}
T5 = {"vocab_size": 50, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4}
# Type, options, and from a layer to what gives the output of its attention and of its feed-forward half.
MODELS = {
    "bert": ("bert", WORDS, "attention.output.dense", "output.dense"),
    "gpt2": (
        "gpt2",
        {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_inner": 24},
        "attn",
        "mlp",
    ),
    "llama": ("llama", {**WORDS, **GROUPED, "attention_bias": True, "mlp_bias": True}, "self_attn", "mlp"),
    "qwen2": ("qwen2", {**WORDS, "num_key_value_heads": 2}, "self_attn", "mlp"),
    "qwen3": ("qwen3", {**WORDS, **GROUPED}, "self_attn", "mlp"),
    "gemma": ("gemma", {**WORDS, **GROUPED}, "self_attn", "mlp"),
    "gemma2": ("gemma2", {**WORDS, **GROUPED, "sliding_window": 4}, "self_attn", "mlp"),
    "gpt_neox": ("gpt_neox", WORDS, "attention", "mlp"),
    "phi": ("phi", WORDS, "self_attn", "mlp"),
    "opt": ("opt", {**WORDS, "ffn_dim": 24, "word_embed_proj_dim": 16}, "self_attn", "fc2"),
    "distilbert": ("distilbert", DISTIL, "attention", "ffn"),
    "modernbert": ("modernbert", {**WORDS, "cls_token_id": 1, "sep_token_id": 2}, "attn", "mlp"),
    "vit": ("vit", {**SIZES, "image_size": 16, "patch_size": 8}, "attention", "mlp"),
    "dinov2": ("dinov2", {**SIZES, "image_size": 16, "patch_size": 8}, "attention", "mlp"),
}
PACKED = TokenBatch.from_lists([[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]])


def shaken(model):
    """Fresh biases are zero and fresh norms one: neither would be seen."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def pretrained(name):
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    kind, options, attention, feed_forward = MODELS[name]
    config = AutoConfig.for_model(kind, **options)
    config._attn_implementation = "eager"
    return shaken(AutoModel.from_config(config)), attention, feed_forward


def inputs(name):
    if name in ("vit", "dinov2"):
        return {"pixel_values": torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))}
    ids, mask = PACKED.padded(pad_id=0)
    return {"input_ids": ids, "attention_mask": mask}


def ours(norm="post"):
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "width": 16, "num_layers": 2, "num_heads": 4, "mlp_width": 24}
    return shaken(Transformer(**sizes, max_positions=32, norm=norm))


def decoder(groups=2, mixture=False):
    torch.manual_seed(0)
    form = AttentionForm(hidden=8, num_heads=2, position="rope")

    def half(layer):
        if mixture and layer:
            return ExpertFeedForward(16, 6, TopKRouter(16, 4, 2))
        return Mlp(16, 24)

    return shaken(
        DecoderLM(50, 16, [DecoderBlock(16, SharedHeads(16, form, groups), half(n)) for n in range(2)])
    )


def blocks_of(model):
    (stack,) = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 2]
    return stack


@torch.no_grad()
def run_ours(model, tokens, packed=True):
    if packed:
        grid = torch.zeros(len(tokens), tokens.max_length, 16)
        grid[tokens.sequence, tokens.position] = model(tokens, [2])[2]
        return grid
    ids, mask = tokens.padded(pad_id=0)
    return model.exits_padded(ids, mask, [2])[2] * mask[..., None]
