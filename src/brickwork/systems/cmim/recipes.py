"""Runs of ``cmim``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.config import ImageDataConfig
from brickwork.encoders.config import ImageEncoderConfig, TextEncoderConfig
from brickwork.modules.sequence_decoder import SequenceDecoderConfig
from brickwork.systems.cmim.image_decoder import ImageDecoderConfig
from brickwork.systems.cmim.system import Config
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: the digits that come with scikit-learn, MLPs, codes of 16 dimensions.

    ``brickwork train cmim --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        model=Config(
            encoder=ImageEncoderConfig(architecture="mlp", width=64, depth=2, embedding_dim=16),
            decoder=ImageDecoderConfig(width=64),
        ),
        data=ImageDataConfig(source="digits"),
        train=TrainConfig(
            steps=300,
            batch_size=64,
            learning_rate=3e-3,
            weight_decay=0.0,
            precision="fp32",
            clip_norm=0.0,
            validate_every=100,
        ),
    )


def small() -> RunConfig:
    """MNIST or images of your own, MLPs 784-400-400, codes of 64 dimensions; ``brickwork train cmim --data PATH``.

    ``--data`` takes an .npy or .npz of uint8 images or a folder of images. 10 epochs of MNIST; not measured at this
    length, the claims use 10,000 images.
    """
    run = smoke()
    return replace(
        run,
        model=Config(
            encoder=ImageEncoderConfig(architecture="mlp", width=400, depth=2, embedding_dim=64),
            decoder=ImageDecoderConfig(width=400),
        ),
        data=ImageDataConfig(source="mnist"),
        train=replace(run.train, steps=4700, batch_size=128, learning_rate=1e-3, validate_every=500),
    )


def photos() -> RunConfig:
    """CIFAR-10 (JPEG) or your own coloured images: convolutions on both sides, Gaussian pixels.

    ``brickwork train cmim --recipe photos --data FOLDER``. Not measured.
    """
    run = small()
    return replace(
        run,
        model=Config(
            encoder=ImageEncoderConfig(width=16, depth=3),
            decoder=ImageDecoderConfig(architecture="conv", width=32, depth=3, likelihood="gaussian"),
        ),
        data=ImageDataConfig(source="cifar10"),
    )


def molecules() -> RunConfig:
    """SMILES in a CSV, Parquet or .smi file: a transformer of 2 layers reads, a recurrent network writes.

    ``brickwork train cmim --recipe molecules --data molecules.csv``. The default data are ESOL, FreeSolv and Lipophilicity
    together, 4,900 molecules; 10 epochs. Not measured at this length.
    """
    return RunConfig(
        model=Config(
            encoder=TextEncoderConfig(backbone="scratch", width=128, num_layers=2, max_tokens=128),
            decoder=SequenceDecoderConfig(width=128),
        ),
        data=ImageDataConfig(source="molecules"),
        train=TrainConfig(steps=760, batch_size=64, learning_rate=2e-3, weight_decay=0.0, validate_every=100),
    )


def gpu() -> RunConfig:
    """CIFAR-10 with wider convolutions and codes of 256 dimensions on one GPU; not measured.

    ``brickwork train cmim --recipe gpu``.
    """
    run = photos()
    return replace(
        run,
        model=replace(
            run.model,
            encoder=ImageEncoderConfig(width=64, depth=4, embedding_dim=256),
            decoder=replace(run.model.decoder, width=64, depth=4),
        ),
        train=replace(run.train, steps=20_000, batch_size=256),
    )
