"""Runs of ``dylora``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.config import ImageDataConfig
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.systems.dylora.config import DyloraConfig
from brickwork.training.config import Stage, TrainConfig
from brickwork.training.run import RunConfig

BACKBONE_STEPS = 300  # of the smoke recipe: all upright digits are right from about 150 on


def smoke() -> RunConfig:
    """Seconds: an MLP learns upright digits 0 to 4 in a stage of its own, and is adapted to all ten turned by a quarter.

    ``brickwork train dylora --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        model=DyloraConfig(
            backbone=ImageEncoderConfig(architecture="mlp", width=256, depth=2, embedding_dim=64)
        ),
        data=ImageDataConfig(source="digits-turned"),
        train=TrainConfig(
            steps=BACKBONE_STEPS + 300,
            batch_size=32,
            learning_rate=1e-3,
            precision="fp32",
            weight_decay=0.0,
            validate_every=100,
        ),
        stages=(
            Stage(
                name="backbone",
                steps=BACKBONE_STEPS,
                trains=("encoder.*.base.*", "head.*"),
                data="upright",
                learning_rate=1e-3,
                schedule="constant",
            ),
            Stage(name="adapters"),
        ),
    )


def small() -> RunConfig:
    """MiniLM on labelled texts, queries and values, all ranks to 8: ``brickwork train dylora --data labelled.csv``.

    Another backbone: ``--backbone FOLDER_OR_HUB_ID``. Without ``--data``: questions of TREC, six classes.
    """
    return RunConfig(
        model=DyloraConfig(max_tokens=64),
        data=ImageDataConfig(source="trec6"),
        train=TrainConfig(steps=300, batch_size=32, learning_rate=2e-3, schedule="linear", warmup=0.06),
    )


def images() -> RunConfig:
    """Images of your own on an image encoder of yours: ``brickwork train dylora --recipe images --data FOLDER``.

    Needs ``--backbone``: a pretrained model of images (``models/vit``: ViT, DINOv2, ConvNeXt …, or CLIP or SigLIP), or the
    run folder of an image encoder (for example of ``matryoshka``); without ``--data`` it is adapted to scikit-learn's
    digits, for the sheet's 40 epochs.
    """
    run = smoke()
    return replace(
        run,
        model=DyloraConfig(backbone="runs/encoder"),
        data=ImageDataConfig(source="digits"),
        train=replace(run.train, steps=1600),
        stages=(),
    )


def language() -> RunConfig:
    """A causal language model goes on learning from texts: ``brickwork train dylora --recipe language --data FOLDER``.

    Another model: ``--backbone FOLDER_OR_HUB_ID``. Without ``--data``: documentation of installed packages.
    """
    run = small()
    return replace(
        run,
        model=DyloraConfig(task="language", backbone="smollm2-135m", max_tokens=128),
        data=ImageDataConfig(source="python", max_held_out=64, limit=2000),
        train=replace(run.train, steps=100, batch_size=4, learning_rate=5e-4),
    )


def gpu() -> RunConfig:
    """RoBERTa-base from the hub, all linear layers, ranks up to 64, one GPU; not measured.

    ``brickwork train dylora --recipe gpu --data labelled.csv``.
    """
    run = small()
    return replace(
        run,
        model=replace(
            run.model,
            backbone="FacebookAI/roberta-base",
            targets="query|key|value|dense",
            rank=64,
            max_tokens=256,
        ),
        train=replace(run.train, steps=2000, learning_rate=5e-4),
    )
