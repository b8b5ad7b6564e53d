"""Runs of ``align``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig, TextEncoderConfig
from brickwork.systems.align.caption_filters import CaptionFilter
from brickwork.systems.align.data import Data
from brickwork.systems.align.system import Config
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: made-up scenes, an MLP for images, the mean of token vectors for texts; its losses are pinned.

    ``brickwork train align --recipe smoke --out runs/smoke``.
    """
    return RunConfig(
        model=Config(
            image=ImageEncoderConfig(architecture="mlp", embedding_dim=32, width=96, depth=1, shrink=2),
            text=TextEncoderConfig(backbone="static", width=32, vocab_size=400, max_tokens=32),
        ),
        data=Data(source="scenes", limit=1000),
        train=TrainConfig(
            steps=300, batch_size=128, learning_rate=3e-3, precision="fp32", validate_every=100
        ),
    )


def small() -> RunConfig:
    """The user's own images with texts: a small residual network and a transformer of two layers, from scratch.

    ``brickwork train align --data photos/``; without data, the 3,319 pairs of 2,794 emoji and their names. Minutes on one
    free core; ``--dry-run`` says how many.
    """
    return RunConfig(
        model=Config(),
        data=Data(source="emoji", image_size=32),
        train=TrainConfig(steps=1500, batch_size=128, learning_rate=1e-3, weight_decay=0.01),
    )


def web() -> RunConfig:
    """Alt-texts as the web has them: the paper's filter is on, and its audit is among the notes of the run.

    ``brickwork train align --recipe web --data crawl.parquet``. Not measured.
    """
    run = small()
    return replace(run, data=replace(run.data, captions=CaptionFilter(enabled=True)))


def clip() -> RunConfig:
    """A pretrained CLIP, trained on with the user's images and texts, from its own temperature.

    ``brickwork train align --recipe clip --backbone models/clip --data photos/``. Not measured.
    """
    return RunConfig(
        model=Config(backbone="openai/clip-vit-base-patch32", label_smoothing=0.0),
        data=Data(source="emoji"),
        train=TrainConfig(steps=300, batch_size=64, learning_rate=1e-5, weight_decay=0.1),
    )


def siglip() -> RunConfig:
    """A pretrained SigLIP, trained on with its own loss, from its own temperature and bias.

    ``brickwork train align --recipe siglip --backbone models/siglip --data photos/``. Not measured.
    """
    run = clip()
    return replace(run, model=Config(backbone="google/siglip-base-patch16-224", objective="siglip"))


def locked() -> RunConfig:
    """A pretrained encoder of images, whose weights stay, and a pretrained encoder of texts that learns to meet it (LiT).

    ``brickwork train align --recipe locked --backbone models/dinov2 --backbone minilm --data photos/``. With
    ``--set model.locked=none`` both learn. Not measured.
    """
    run = clip()
    return replace(
        run,
        model=Config(
            image=PretrainedImageConfig(backbone="facebook/dinov2-small"),
            text=TextEncoderConfig(backbone="minilm", max_tokens=64),
            locked="image",
        ),
        train=replace(run.train, learning_rate=5e-5, weight_decay=0.01),
    )


def gpu() -> RunConfig:
    """Larger encoders and batches with cached gradients, on one GPU; not measured.

    ``brickwork train align --recipe gpu --data crawl.parquet``.
    """
    run = web()
    return replace(
        run,
        model=replace(
            run.model,
            image=ImageEncoderConfig(embedding_dim=512, width=64, depth=4),
            text=TextEncoderConfig(
                backbone="scratch", num_layers=4, width=512, max_tokens=64, vocab_size=30_000
            ),
        ),
        data=replace(run.data, image_size=64),
        train=replace(run.train, steps=10_000, batch_size=4096, cache_chunk=1024),
    )
