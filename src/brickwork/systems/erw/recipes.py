"""Runs of ``erw``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.config import ImageDataConfig
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig
from brickwork.systems.erw.config import Config
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: the digits that come with scikit-learn, 8 × 8 pixels, a generator of three blocks; for tests.

    ``brickwork train erw --recipe smoke --out runs/smoke``. Its first losses are pinned.
    """
    return RunConfig(
        model=Config(
            encoder=ImageEncoderConfig(width=8, depth=2, embedding_dim=16),
            patch=2,
            width=32,
            depth=3,
            num_heads=2,
            warm_to=1,
            align_at=2,
            align=1.0,
            average=20.0,
            judge=ImageEncoderConfig(width=8, depth=2, embedding_dim=16),
        ),
        data=ImageDataConfig(source="digits"),
        train=TrainConfig(
            steps=320, batch_size=64, learning_rate=2e-3, precision="fp32", weight_decay=0.0, schedule="constant",
            validate_every=0,
        ),
    )  # fmt: skip


def small() -> RunConfig:
    """Your own small images in a folder for each class: ``brickwork train erw --data photos/``; without data, MNIST.

    The encoder is trained first, on two views of each image; 32 × 32 pixels, a generator of 1.5 million parameters.
    """
    return RunConfig(
        model=Config(half_life=300.0),
        data=ImageDataConfig(source="mnist"),
        train=TrainConfig(
            steps=2200,
            batch_size=64,
            learning_rate=1e-3,
            weight_decay=0.0,
            schedule="constant",
            validate_every=0,
        ),
    )


def pretrained() -> RunConfig:
    """The same from the patches of a pretrained encoder of images, which stays as it is.

    ``brickwork train erw --recipe pretrained --backbone models/dinov2 --data photos/``. Not measured.
    """
    run = small()
    return replace(
        run,
        model=replace(run.model, encoder=PretrainedImageConfig(backbone="facebook/dinov2-small")),
        data=replace(run.data, image_size=32),
        train=replace(run.train, steps=1900),
    )


def gpu() -> RunConfig:
    """CIFAR-10 (JPEG), a generator of 12 blocks of width 384, one GPU; not measured.

    ``brickwork train erw --recipe gpu``.
    """
    run = small()
    config = replace(
        run.model, width=384, depth=12, num_heads=6, patch=2, align_at=5, warm_to=4, half_life=5000.0
    )
    return replace(
        run,
        model=replace(
            config, encoder=ImageEncoderConfig(width=64, depth=3, embedding_dim=128), average=1000.0
        ),
        data=ImageDataConfig(source="cifar10"),
        train=replace(run.train, steps=37_000, batch_size=256, learning_rate=3e-4),
    )
