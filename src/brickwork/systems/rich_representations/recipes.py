"""Runs of ``rich-representations``: each function returns one complete configuration.

``train.steps`` are those of all members together: more members in as many steps are shorter trainings.
"""

from dataclasses import replace

from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig, TextEncoderConfig
from brickwork.systems.rich_representations.config import Config
from brickwork.systems.rich_representations.data import Data
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: the digits 0 to 4 that come with scikit-learn, three MLPs; 5 to 9 are the new labels.

    ``brickwork train rich-representations --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        model=Config(
            encoder=ImageEncoderConfig(architecture="mlp", embedding_dim=32, width=64, depth=1), members=3
        ),
        data=Data(source="digits", new_classes=5),
        train=TrainConfig(steps=400, batch_size=64, learning_rate=2e-3, precision="fp32", validate_every=100),
    )


def small() -> RunConfig:
    """Images in a folder for each class: ``brickwork train rich-representations --data photos/``; five small residual nets.

    CPU; CIFAR-10 where no data is named. ``data.new_classes=2`` keeps two classes for later, to be measured as new labels.
    """
    return RunConfig(
        model=Config(encoder=ImageEncoderConfig(embedding_dim=64, width=16, depth=3)),
        data=Data(source="cifar10"),
        train=TrainConfig(
            steps=2500, batch_size=128, learning_rate=2e-3, weight_decay=0.01, validate_every=500
        ),
    )


def texts() -> RunConfig:
    """Texts with labels: ``brickwork train rich-representations --recipe texts --data labelled.csv``; three times MiniLM.

    Columns ``text`` and ``label``. CPU, an hour; not measured.
    """
    run = small()
    return replace(
        run,
        model=Config(encoder=TextEncoderConfig(max_tokens=128), members=3),
        data=Data(source="newsgroups20"),
        train=replace(run.train, steps=600, batch_size=32, learning_rate=5e-5),
    )


def static() -> RunConfig:
    """Texts with labels, no pretrained weights: five means of token vectors with a matrix; seconds to minutes.

    ``brickwork train rich-representations --recipe static --data labelled.csv``.
    """
    run = small()
    return replace(
        run,
        model=Config(encoder=TextEncoderConfig(backbone="static", width=128, projection=64)),
        data=Data(source="newsgroups20"),
        train=replace(run.train, steps=2000, batch_size=64, learning_rate=1e-2, weight_decay=0.0),
    )


def vision() -> RunConfig:
    """A pretrained encoder of images, fine-tuned three times: ``--recipe vision --backbone models/dinov2 --data photos/``.

    DINOv2-small, or any other that can be loaded. Not measured.
    """
    run = small()
    return replace(
        run,
        model=Config(encoder=PretrainedImageConfig(backbone="facebook/dinov2-small"), members=3),
        train=replace(run.train, steps=600, batch_size=32, learning_rate=2e-5),
    )


def gpu() -> RunConfig:
    """Tiny-ImageNet-100 on one GPU: five residual networks of 512 dimensions; ``--recipe gpu``, not run.

    The last 40 of the 100 classes are the new labels.
    """
    run = small()
    return replace(
        run,
        model=Config(encoder=ImageEncoderConfig(embedding_dim=512, width=64, depth=4)),
        data=Data(source="tiny_imagenet100", new_classes=40),
        train=replace(run.train, steps=25_000, batch_size=256, learning_rate=1e-3),
    )
