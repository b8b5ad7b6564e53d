"""Runs of ``m2mkd``: each function returns one complete configuration.

``train.steps`` are those of all stages: meta network, teacher, each slot, assembled student.
"""

from dataclasses import replace

from brickwork.data.augment import Augmentation, Mixing
from brickwork.data.config import ImageDataConfig
from brickwork.systems.m2mkd.config import Circuits, Config, Experts
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: the digits that come with scikit-learn, two slots, a teacher of 32 dimensions and a student of 24.

    ``brickwork train m2mkd --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        model=Config(
            student=Experts(width=24, depth=2, experts=4, active=2),
            slots=2,
            patch=2,
            teacher_width=32,
            teacher_depth=2,
        ),
        data=ImageDataConfig(source="digits"),
        train=TrainConfig(
            steps=700,
            batch_size=64,
            learning_rate=3e-3,
            weight_decay=0.05,
            precision="fp32",
            validate_every=0,
        ),
    )


def small() -> RunConfig:
    """Images in a folder for each class: ``brickwork train m2mkd --data photos/``; CIFAR-10 where no data is named.

    CPU: a teacher of 96 dimensions and 6 blocks, a student of 64 and 6 with 8 experts in each; three slots of two blocks.
    """
    return RunConfig(
        model=Config(views=Augmentation(crop=0.6, flip=0.5)),
        data=ImageDataConfig(source="cifar10"),
        train=TrainConfig(
            steps=2000, batch_size=64, learning_rate=1e-3, weight_decay=0.05, validate_every=500
        ),
    )


def circuits() -> RunConfig:
    """A Neural Attentive Circuit as the student: ``brickwork train m2mkd --recipe circuits --data photos/``.

    CPU: five slots, which are tokeniser and read-in, three propagators, and read-out; the teacher as in ``small``.
    """
    run = small()
    return replace(run, model=replace(run.model, student=Circuits(), slots=5))


def vision() -> RunConfig:
    """The slots of a pretrained vision transformer as teachers: ``--recipe vision --backbone models/vit --data photos/``.

    A folder or hub id of any ViT with patches that fit; a student of 192 dimensions. Not measured.
    """
    run = small()
    return replace(
        run,
        model=replace(
            run.model,
            backbone="google/vit-base-patch16-224-in21k",
            student=Experts(width=192, depth=6),
        ),
        train=replace(run.train, steps=2000, batch_size=32, learning_rate=5e-4, validate_every=200),
    )


def gpu() -> RunConfig:
    """Tiny-ImageNet-100 on one GPU: a ViT-S as teacher, a student of 192 dimensions in four slots.

    ``brickwork train m2mkd --recipe gpu``; not run. With the paper's mixing of images.
    """
    run = small()
    return replace(
        run,
        model=replace(
            run.model,
            student=Experts(width=192, depth=12),
            slots=4,
            patch=8,
            teacher_width=384,
            teacher_depth=12,
            mixing=Mixing(mixup=0.8, cutmix=1.0, smoothing=0.1),
        ),
        data=ImageDataConfig(source="tiny_imagenet100"),
        train=replace(run.train, steps=20_000, batch_size=512, learning_rate=5e-4),
    )
