"""A tiny model of images and texts with random weights, and images of made-up scenes as files."""

import json
from pathlib import Path

import torch
from PIL import Image

from brickwork.core.elastic import ElasticAxes
from brickwork.core.seeding import seed_everything
from brickwork.data.generators.scenes import scene_pairs
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.image_text import ImageTextEncoder
from brickwork.representation.model import Representation

WIDTH = 12


def tiny_image_model(seed: int = 0, side: int = 32) -> Representation:
    """Vectors of 12 dimensions, images of 32 × 32 pixels."""
    seed_everything(seed)
    texts = TextEncoderConfig(backbone="static", width=8, vocab_size=300, max_tokens=16, projection=WIDTH)
    image = ImageEncoderConfig(architecture="mlp", embedding_dim=WIDTH, width=16, depth=1, shrink=2)
    encoder = ImageTextEncoder.of(
        ImageEncoder(image, (side, side, 3)), build_text_encoder(texts, scene_pairs(100, 0)[1])
    )
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return Representation(encoder.eval(), ElasticAxes(dims=(WIDTH,), layers=(encoder.num_layers,)))


def write_images(folder: Path, count: int = 12, *, captions: str = "csv") -> list[str]:
    """``scene-0.png`` … in ``folder`` with ``captions.csv``, ``captions.jsonl`` or a ``txt`` beside each; the texts."""
    folder.mkdir(parents=True, exist_ok=True)
    images, texts, _, _ = scene_pairs(count, 3)
    lines = []
    for number, (image, text) in enumerate(zip(images, texts)):
        name = f"scene-{number}.png"
        Image.fromarray(image).save(folder / name)
        if captions == "txt":
            (folder / f"scene-{number}.txt").write_text(text + "\n")
        elif captions == "csv":
            lines.append(f"{name},{text}")
        else:
            lines.append(json.dumps({"image": name, "text": text}))
    if captions != "txt":
        head = ["image,text"] if captions == "csv" else []
        (folder / f"captions.{captions}").write_text("\n".join([*head, *lines]) + "\n")
    return texts
