"""Runs of ``matryoshka``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.config import ImageDataConfig
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig, TextEncoderConfig
from brickwork.systems.matryoshka.system import Config
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: the digits that come with scikit-learn, an MLP with 32 dimensions, labels.

    ``brickwork train matryoshka --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        model=Config(
            encoder=ImageEncoderConfig(architecture="mlp", embedding_dim=32, width=64, depth=2),
            dims=(4, 8, 16, 32),
        ),
        data=ImageDataConfig(source="digits"),
        train=TrainConfig(steps=200, batch_size=64, learning_rate=2e-3, precision="fp32", validate_every=50),
    )


def small() -> RunConfig:
    """The main job on text pairs: MiniLM with prefixes 24 … 384; ``brickwork train matryoshka --data PATH``.

    Pairs come from the user's file, or from the headings and neighbours of plain documents. Not measured.
    """
    return RunConfig(
        model=Config(encoder=TextEncoderConfig(max_tokens=128), dims=(24, 48, 96, 192, 384)),
        data=ImageDataConfig(source="python"),
        train=TrainConfig(steps=300, batch_size=32, learning_rate=3e-5),
    )


def scratch() -> RunConfig:
    """A transformer of 4 layers and 128 dimensions, with a tokenizer trained on the data: no pretrained weights.

    ``brickwork train matryoshka --recipe scratch --data PATH``. Not measured.
    """
    run = small()
    return replace(
        run,
        model=replace(run.model, encoder=TextEncoderConfig(backbone="scratch", max_tokens=64), dims=()),
        train=replace(run.train, steps=2000, batch_size=64, learning_rate=1e-3),
    )


def static() -> RunConfig:
    """The mean of token vectors, 256 dimensions: encodes hundreds of thousands of texts a second on one core.

    ``brickwork train matryoshka --recipe static --data PATH``. Not measured.
    """
    run = small()
    return replace(
        run,
        model=replace(run.model, encoder=TextEncoderConfig(backbone="static", width=256), dims=()),
        train=replace(run.train, steps=1000, batch_size=256, learning_rate=1e-2, weight_decay=0.0),
    )


def images() -> RunConfig:
    """CIFAR-10 (JPEG), a residual network of 128 dimensions, labels; ``brickwork train matryoshka --recipe images``.

    Needs the set in ``BRICKWORK_DATA`` or a network. Not measured at this length; claims C1 and C5 use a shorter one.
    """
    return RunConfig(
        model=Config(
            encoder=ImageEncoderConfig(embedding_dim=128, width=16, depth=3), dims=(8, 16, 32, 64, 128)
        ),
        data=ImageDataConfig(source="cifar10"),
        train=TrainConfig(steps=4000, batch_size=128, learning_rate=2e-3),
    )


def vision() -> RunConfig:
    """A pretrained encoder of images with its own preprocessing, fine-tuned on labels: DINOv2-small, or any ViT, DINOv2,
    DINOv3, ConvNeXt, ResNet, Swin, CLIP or SigLIP.

    ``brickwork train matryoshka --recipe vision --backbone models/dinov2 --data photos/``. Not measured.
    """
    return RunConfig(
        model=Config(encoder=PretrainedImageConfig(backbone="facebook/dinov2-small")),
        data=ImageDataConfig(source="cifar10"),
        train=TrainConfig(steps=300, batch_size=32, learning_rate=3e-5, weight_decay=0.01),
    )


def gpu() -> RunConfig:
    """Tiny-ImageNet-100 with a residual network of 512 dimensions on one GPU; not measured.

    ``brickwork train matryoshka --recipe gpu``.
    """
    run = images()
    return replace(
        run,
        model=replace(run.model, encoder=ImageEncoderConfig(embedding_dim=512, width=64, depth=4), dims=()),
        data=ImageDataConfig(source="tiny_imagenet100"),
        train=replace(run.train, steps=10_000, batch_size=256, learning_rate=1e-3),
    )
