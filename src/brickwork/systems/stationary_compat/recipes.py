"""Runs of ``stationary-compat``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.config import ImageDataConfig
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig, TextEncoderConfig
from brickwork.systems.stationary_compat.system import Config
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: the digits that come with scikit-learn, an MLP with 31 dimensions, room for 32 classes.

    ``brickwork train stationary-compat --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        model=Config(encoder=ImageEncoderConfig(architecture="mlp", embedding_dim=31, width=64, depth=2)),
        data=ImageDataConfig(source="digits"),
        train=TrainConfig(steps=200, batch_size=64, learning_rate=2e-3, precision="fp32", validate_every=50),
    )


def small() -> RunConfig:
    """MiniLM with a projection to 127 dimensions, room for 128 classes; ``brickwork train stationary-compat --data PATH``.

    The file has a column of texts and one of labels. The next version: ``--set model.previous=runs/v1``.
    """
    return RunConfig(
        model=Config(encoder=TextEncoderConfig(max_tokens=128, projection=127), logit_scale=16.0),
        data=ImageDataConfig(source="newsgroups20"),
        train=TrainConfig(steps=300, batch_size=32, learning_rate=1e-4),
    )


def static() -> RunConfig:
    """The mean of token vectors, 127 dimensions, no pretrained weights: seconds, and very fast to encode with.

    ``brickwork train stationary-compat --recipe static --data PATH``.
    """
    run = small()
    return replace(
        run,
        model=replace(run.model, encoder=TextEncoderConfig(backbone="static", width=127), logit_scale=4.0),
        train=replace(run.train, steps=1000, batch_size=64, learning_rate=1e-2, weight_decay=0.0),
    )


def images() -> RunConfig:
    """Images in a folder of a subfolder per class, or CIFAR-10: a residual network of 127 dimensions.

    ``brickwork train stationary-compat --recipe images --data PATH``. Not measured at this length.
    """
    run = small()
    return replace(
        run,
        model=Config(encoder=ImageEncoderConfig(embedding_dim=127, width=16, depth=3)),
        data=ImageDataConfig(source="cifar10"),
        train=TrainConfig(steps=4000, batch_size=128, learning_rate=2e-3),
    )


def vision() -> RunConfig:
    """A pretrained encoder of images (DINOv2-small, or any other that can be loaded) with a matrix to 127 dimensions.

    ``brickwork train stationary-compat --recipe vision --backbone models/dinov2 --data photos/``. Not measured.
    """
    run = small()
    return replace(
        run,
        model=Config(
            encoder=PretrainedImageConfig(backbone="facebook/dinov2-small", embedding_dim=127),
            logit_scale=16.0,
        ),
        data=ImageDataConfig(source="cifar10"),
    )


def gpu() -> RunConfig:
    """Tiny-ImageNet-100 with a residual network of 1,023 dimensions, room for 1,024 classes, on one GPU; not run.

    ``brickwork train stationary-compat --recipe gpu``.
    """
    run = images()
    return replace(
        run,
        model=replace(run.model, encoder=ImageEncoderConfig(embedding_dim=1023, width=64, depth=4)),
        data=ImageDataConfig(source="tiny_imagenet100"),
        train=replace(run.train, steps=10_000, batch_size=256, learning_rate=1e-3),
    )
