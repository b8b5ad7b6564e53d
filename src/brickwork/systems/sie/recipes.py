"""Runs of ``sie``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.augment import Augmentation
from brickwork.encoders.config import ImageEncoderConfig, PretrainedImageConfig
from brickwork.systems.sie.config import Config
from brickwork.systems.sie.data import Data
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: scikit-learn's digits turned by up to 90 degrees, an MLP; for tests, its first losses are pinned."""
    encoder = ImageEncoderConfig(architecture="mlp", embedding_dim=32, width=64, depth=2)
    return RunConfig(
        model=Config(encoder=encoder, projector=(32, 8), covariance=0.1, readout=32),
        data=Data(source="digits", limit=400, views=8, augmentation=Augmentation(rotate=90.0)),
        train=TrainConfig(
            steps=200,
            batch_size=64,
            learning_rate=2e-3,
            weight_decay=1e-6,
            precision="fp32",
            validate_every=0,
        ),
    )


def small() -> RunConfig:
    """Views of rendered objects, or of yours: ``brickwork train sie --data views.csv``; a residual network, not measured."""
    return RunConfig(
        model=Config(),
        data=Data(),
        train=TrainConfig(
            steps=1500, batch_size=128, learning_rate=1e-3, weight_decay=1e-6, validate_every=500
        ),
    )


def vision() -> RunConfig:
    """A pretrained encoder of images, fine-tuned: ``brickwork train sie --recipe vision --backbone models/dinov2 --data
    views.csv``. Not measured.
    """
    run = small()
    return replace(
        run,
        model=replace(run.model, encoder=PretrainedImageConfig(backbone="facebook/dinov2-small")),
        train=replace(run.train, steps=500, batch_size=32, learning_rate=3e-5),
    )


def gpu() -> RunConfig:
    """Renders of 96 × 96 and a wider network with the paper's widths on one GPU; ``--recipe gpu``, not measured."""
    run = small()
    encoder = ImageEncoderConfig(embedding_dim=512, width=64, depth=4)
    return replace(
        run,
        model=replace(run.model, encoder=encoder, projector=(1024, 1024, 1024)),
        data=Data(objects=100, views=50, image_size=96),
        train=replace(run.train, steps=8000, batch_size=1024, schedule="constant", warmup=0.0),
    )
