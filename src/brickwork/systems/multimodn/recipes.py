"""Runs of ``multimodn``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.encoders.config import ImageEncoderConfig
from brickwork.systems.multimodn.config import MultiModNConfig, ParallelFusionConfig, SequentialFusion
from brickwork.systems.multimodn.data import Data
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: made-up patients with a modality of every kind, some missing, one class and one number to learn.

    ``brickwork train multimodn --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        model=MultiModNConfig(
            fusion=SequentialFusion(state_dim=32),
            dropout=0.0,
            series_width=16,
            image=ImageEncoderConfig(architecture="mlp", embedding_dim=16, width=32, depth=1),
        ),
        data=Data(source="toy_ward"),
        train=TrainConfig(
            steps=200,
            batch_size=16,
            learning_rate=2e-3,
            weight_decay=0.0,
            precision="fp32",
            validate_every=50,
        ),
    )


def small() -> RunConfig:
    """Your own table: ``brickwork train multimodn --data patients.csv --set data.table.targets=outcome``.

    The paper's sizes (S = 50, hidden 32, 32, dropout 0.2, Adam 1e-3, batch 16), logits in place of sigmoids, a missing
    modality skips the row. Without ``--data``: 649 pupils in four modalities, two targets; 2000 steps are about 58 epochs.
    """
    return RunConfig(
        model=MultiModNConfig(),
        data=Data(source="student_performance", validation_share=0.1, test_share=0.2),
        train=TrainConfig(
            steps=2000,
            batch_size=16,
            learning_rate=1e-3,
            weight_decay=0.0,
            warmup=0.0,
            schedule="constant",
            clip_norm=0.0,
            precision="fp32",
            save_every=1000,
            validate_every=500,
        ),
    )


def parallel() -> RunConfig:
    """P-Fusion, the paper's baseline, on the same data: ``brickwork train multimodn --recipe parallel --data …``."""
    run = small()
    return replace(run, model=replace(run.model, fusion=ParallelFusionConfig()))


def series() -> RunConfig:
    """Beijing's air: hours of three groups of instruments, calendar and place; will tomorrow be polluted? Split by time.

    ``brickwork train multimodn --recipe series``. Needs the set in ``BRICKWORK_DATA``. Not measured.
    """
    run = small()
    return replace(
        run,
        model=replace(run.model, modality_dropout=0.2),
        data=Data(source="beijing_air_quality", validation_share=0.12, test_share=0.16, max_held_out=3000),
        train=replace(run.train, steps=3000, batch_size=64),
    )


def gpu() -> RunConfig:
    """CIFAR-10 images, their colours and a description that is often wrong, on one GPU; not measured.

    ``brickwork train multimodn --recipe gpu``.
    """
    run = small()
    return replace(
        run,
        model=replace(
            run.model,
            fusion=SequentialFusion(state_dim=128),
            hidden=(256, 256),
            modality_dropout=0.3,
            image=ImageEncoderConfig(embedding_dim=512, width=64, depth=4),
        ),
        data=Data(source="cifar10_described", test_share=0.2, max_held_out=10_000),
        train=replace(run.train, steps=6000, batch_size=256, precision="auto"),
    )
