"""Tiny random checkpoints of image encoders and dual encoders, written by transformers itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

SIDE = 32
_BLOCKS: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
_SQUARE = {"height": SIDE, "width": SIDE}
_VIT: dict[str, Any] = {**_BLOCKS, "image_size": SIDE, "patch_size": 8}
_STAGES = {"depths": [1, 1], "hidden_sizes": [8, 16], "num_stages": 2}


def _bit() -> Any:
    return BitImageProcessorPil(size={"shortest_edge": 40}, crop_size=_SQUARE)


def _convnext() -> Any:
    return ConvNextImageProcessorPil(size={"shortest_edge": SIDE}, crop_pct=0.875)


def _vit() -> Any:
    return ViTImageProcessorPil(size=_SQUARE)


IMAGE_MODELS: dict[str, Any] = {
    "vit": (lambda: hf.ViTModel(hf.ViTConfig(**_VIT)), _vit),
    "dinov2": (lambda: hf.Dinov2Model(hf.Dinov2Config(**{**_VIT, "image_size": 56})), _bit),
    "dinov2_with_registers": (
        lambda: hf.Dinov2WithRegistersModel(
            hf.Dinov2WithRegistersConfig(**{**_VIT, "image_size": 56}, num_register_tokens=3)
        ),
        _bit,
    ),
    "dinov3_vit": (lambda: hf.DINOv3ViTModel(hf.DINOv3ViTConfig(**_VIT, num_register_tokens=2)), _vit),
    "clip_vision_model": (
        lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**_VIT)),
        lambda: CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=_SQUARE),
    ),
    "siglip_vision_model": (
        lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**_VIT)),
        lambda: SiglipImageProcessorPil(size=_SQUARE),
    ),
    "convnext": (lambda: hf.ConvNextModel(hf.ConvNextConfig(**_STAGES)), _convnext),
    "convnextv2": (lambda: hf.ConvNextV2Model(hf.ConvNextV2Config(**_STAGES)), _convnext),
    "dinov3_convnext": (
        lambda: hf.DINOv3ConvNextModel(hf.DINOv3ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1])),
        _vit,
    ),
    "resnet": (
        lambda: hf.ResNetModel(
            hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        ),
        _convnext,
    ),
    "swin": (
        lambda: hf.SwinModel(
            hf.SwinConfig(
                image_size=SIDE, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
            )
        ),
        _vit,
    ),
}


def _shaken(model: Any) -> Any:
    """All weights drawn anew: layer scales of 1e-6 and zeros would hide what a test looks for."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(0.3)
    return model.eval()


def image_checkpoint(kind: str, folder: Path) -> tuple[Any, Any]:
    """Writes a model of images into ``folder``; returns transformers' own model and image processor."""
    make, processor = IMAGE_MODELS[kind]
    model = _shaken(make())
    model.save_pretrained(folder)
    processor = processor()
    processor.save_pretrained(folder)
    return model, processor


def dual_checkpoint(kind: str, folder: Path) -> tuple[Any, Any, Any]:
    """Writes a CLIP or SigLIP; returns transformers' model, image processor and fast tokenizer."""
    size: dict[str, Any] = {"vocab_size": 300, "max_position_embeddings": 12}
    if kind == "clip":
        text: dict[str, Any] = {**_BLOCKS, **size, "eos_token_id": 3, "bos_token_id": 1, "pad_token_id": 2}
        config: Any = hf.CLIPConfig(text_config=text, vision_config=_VIT, projection_dim=8)
        model, processor = hf.CLIPModel(config), IMAGE_MODELS["clip_vision_model"][1]()
    else:
        text = {**_BLOCKS, **size, "projection_size": 16, "pad_token_id": 1, "eos_token_id": 1}
        config = hf.SiglipConfig(text_config=text, vision_config=_VIT)
        model, processor = hf.SiglipModel(config), IMAGE_MODELS["siglip_vision_model"][1]()
    _shaken(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor, _tokenizer(kind, folder)


def _tokenizer(kind: str, folder: Path) -> Any:
    """One token a word or letter, with the ends that the model was trained with."""
    words = [
        "a",
        "photo",
        "of",
        "the",
        "red",
        "green",
        "blue",
        "circle",
        "box",
        "ring",
        "small",
        "large",
        "image",
    ]
    special = ["<unk>", "<start>", "<pad>", "</s>"] if kind == "clip" else ["<unk>", "</s>", "<never>"]
    tokens = [*special, *words, *"bcdefghijklmnopqrstuvwxyz"]
    tokenizer = Tokenizer(models.WordLevel({token: n for n, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    end = ("</s>", tokens.index("</s>"))
    single = "<start> $A </s>" if kind == "clip" else "$A </s>"
    ends = [("<start>", 1), end] if kind == "clip" else [end]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ends)
    pad = "<pad>" if kind == "clip" else "</s>"
    fast = hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=12,
    )
    fast.save_pretrained(folder)
    return fast


def pictures(count: int = 3, seed: int = 0) -> list[np.ndarray]:
    """RGB images of different sizes and proportions."""
    rng = np.random.default_rng(seed)
    sizes = [(50, 70), (33, 90), (64, 40), (32, 32), (20, 25)]
    images = []
    for number in range(count):
        height, width = sizes[number % len(sizes)]
        small = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
        rows, columns = np.arange(height) * 7 // height, np.arange(width) * 9 // width
        images.append(np.clip(small[rows][:, columns] + rng.integers(0, 30), 0, 255).astype(np.uint8))
    return images


def edit(path: Path, **changes: Any) -> None:
    """Changes entries of a JSON file; None removes one."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
