"""Runs of ``emoe``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.encoders.config import PretrainedImageConfig, TextEncoderConfig
from brickwork.systems.emoe.config import Config
from brickwork.systems.emoe.data import AG_NEWS, PLACES, Data
from brickwork.training.config import Stage, TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: a transformer of 3 layers learns who somebody is in a made-up language, then, in groups, where; for tests.

    ``brickwork train emoe --recipe smoke --out runs/smoke``. Its first losses are pinned.
    """
    encoder = TextEncoderConfig(backbone="scratch", num_layers=3, width=64, vocab_size=400, max_tokens=32)
    return RunConfig(
        model=Config(encoder=encoder, groups=8),
        data=Data(source=PLACES, test_share=0.4),
        train=TrainConfig(steps=200, batch_size=32, learning_rate=1e-3, precision="fp32", weight_decay=0.0),
        stages=(
            Stage(name="backbone", steps=120, data="people", learning_rate=3e-3),
            Stage(name="groups", steps=80),
        ),
    )


def small() -> RunConfig:
    """MiniLM on labelled texts, its last two layers in 32 groups: ``brickwork train emoe --data labelled.csv``.

    Another model: ``--backbone FOLDER_OR_HUB_ID``. Without ``--data``: topics of AG News, 400 items.
    """
    return RunConfig(
        model=Config(encoder=TextEncoderConfig(max_tokens=128)),
        data=Data(source=AG_NEWS),
        train=TrainConfig(steps=200, batch_size=16, learning_rate=5e-5, schedule="linear", weight_decay=0.0),
    )


def images() -> RunConfig:
    """Images of your own on a pretrained vision transformer: ``brickwork train emoe --recipe images --data FOLDER``.

    Needs ``--backbone`` with a model of images (``models/vit``: ViT, DINOv2, DINOv3, the tower of CLIP or SigLIP); its last
    two layers in 24 groups, 4 used by each patch.
    """
    run = small()
    return replace(
        run,
        model=Config(encoder=PretrainedImageConfig(backbone="models/vit"), groups=24, used=4),
        data=Data(source="digits"),
    )


def gpu() -> RunConfig:
    """BERT-base from the hub, layers 10 and 11 in 64 groups, 16 used, one GPU; not measured.

    ``brickwork train emoe --recipe gpu --data labelled.csv``.
    """
    run = small()
    return replace(
        run,
        model=Config(
            encoder=TextEncoderConfig(backbone="google-bert/bert-base-uncased", max_tokens=128),
            groups=64,
            used=16,
        ),
        train=replace(run.train, steps=2000, batch_size=32, learning_rate=3e-5),
    )
