"""Runs of ``stationary-compat``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.config import ImageDataConfig
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.systems.stationary_compat.system import StationaryCompatConfig
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: the digits that come with scikit-learn, a perceptron with 31 numbers, room for 32 classes.

    ``brickwork train stationary-compat --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        system="stationary-compat",
        recipe="smoke",
        model=StationaryCompatConfig(
            encoder=ImageEncoderConfig(architecture="mlp", embedding_dim=31, width=64, depth=2)
        ),
        data=ImageDataConfig(source="digits"),
        train=TrainConfig(steps=200, batch_size=64, learning_rate=2e-3, precision="fp32", validate_every=50),
    )


def small() -> RunConfig:
    """MiniLM with a projection to 127 numbers, room for 128 classes; ``brickwork train stationary-compat --data PATH``.

    The file has a column of texts and one of labels. The next version: ``--set model.previous=runs/v1``.
    """
    return RunConfig(
        system="stationary-compat",
        recipe="small",
        model=StationaryCompatConfig(
            encoder=TextEncoderConfig(max_tokens=128, projection=127), logit_scale=16.0
        ),
        data=ImageDataConfig(source="newsgroups20"),
        train=TrainConfig(steps=300, batch_size=32, learning_rate=1e-4),
    )


def static() -> RunConfig:
    """The mean of token vectors, 127 numbers, no pretrained weights: seconds, and very fast to encode with.

    ``brickwork train stationary-compat --recipe static --data PATH``.
    """
    run = small()
    return replace(
        run,
        recipe="static",
        model=replace(run.model, encoder=TextEncoderConfig(backbone="static", width=127), logit_scale=4.0),
        train=replace(run.train, steps=1000, batch_size=64, learning_rate=1e-2, weight_decay=0.0),
    )


def images() -> RunConfig:
    """Images in a folder of a subfolder per class, or CIFAR-10: a residual network of 127 numbers.

    ``brickwork train stationary-compat --recipe images --data PATH``. Not measured at this length.
    """
    run = small()
    return replace(
        run,
        recipe="images",
        model=StationaryCompatConfig(encoder=ImageEncoderConfig(embedding_dim=127, width=16, depth=3)),
        data=ImageDataConfig(source="cifar10"),
        train=TrainConfig(steps=4000, batch_size=128, learning_rate=2e-3),
    )


def gpu() -> RunConfig:
    """Tiny-ImageNet-100 with a residual network of 1,023 numbers, room for 1,024 classes, on one GPU; not run.

    ``brickwork train stationary-compat --recipe gpu``.
    """
    run = images()
    return replace(
        run,
        recipe="gpu",
        model=replace(run.model, encoder=ImageEncoderConfig(embedding_dim=1023, width=64, depth=4)),
        data=ImageDataConfig(source="tiny_imagenet100"),
        train=replace(run.train, steps=10_000, batch_size=256, learning_rate=1e-3),
    )


def paper() -> RunConfig:
    """The paper's settings on our largest image set: documented, not run.

    The paper: ResNet-18 with 1,023 numbers, CIFAR-100 (300 images a class) in 7 or 31 tasks of 70 epochs, SGD momentum
    0.9, learning rate 1e-3 to 1e-5 by cosine, weight decay 5e-4, batch 128, crop and flip; server models on ImageNet32.
    """
    run = gpu()
    train = replace(
        run.train, steps=5_500, batch_size=128, learning_rate=1e-3, optimizer="sgd", weight_decay=5e-4
    )
    return replace(run, recipe="paper", train=train)
