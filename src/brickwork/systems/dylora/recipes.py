"""Runs of ``dylora``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.config import ImageDataConfig
from brickwork.systems.dylora.config import DyloraConfig
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: a perceptron that knows upright digits 0 to 4, adapted to all ten digits turned by a quarter.

    ``brickwork train dylora --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        system="dylora",
        recipe="smoke",
        model=DyloraConfig(backbone="digits"),
        data=ImageDataConfig(source="digits-turned"),
        train=TrainConfig(
            steps=300,
            batch_size=32,
            learning_rate=1e-3,
            precision="fp32",
            weight_decay=0.0,
            validate_every=100,
        ),
    )


def small() -> RunConfig:
    """MiniLM on labelled texts, queries and values, all ranks to 8: ``brickwork train dylora --data labelled.csv``.

    Another backbone: ``--backbone FOLDER_OR_HUB_ID``. Without ``--data``: questions of TREC, six classes.
    """
    return RunConfig(
        system="dylora",
        recipe="small",
        model=DyloraConfig(max_tokens=64),
        data=ImageDataConfig(source="trec6"),
        train=TrainConfig(steps=300, batch_size=32, learning_rate=2e-3, schedule="linear", warmup=0.06),
    )


def images() -> RunConfig:
    """Images of your own on an image encoder of yours: ``brickwork train dylora --recipe images --data FOLDER``.

    Needs ``--backbone runs/encoder``, a run folder of an image encoder (for example of ``matryoshka``); as it
    stands it is `smoke` for longer, the sheet's 40 epochs.
    """
    run = smoke()
    return replace(run, recipe="images", train=replace(run.train, steps=1600))


def gpu() -> RunConfig:
    """RoBERTa-base from the hub, all linear layers, ranks up to 64, one GPU; not measured.

    ``brickwork train dylora --recipe gpu --data labelled.csv``.
    """
    run = small()
    return replace(
        run,
        recipe="gpu",
        model=replace(
            run.model,
            backbone="FacebookAI/roberta-base",
            targets="query|key|value|dense",
            rank=64,
            max_tokens=256,
        ),
        train=replace(run.train, steps=2000, learning_rate=5e-4),
    )


def paper() -> RunConfig:
    """The paper's settings for SST-2, RoBERTa-base, frozen mode: documented, not run.

    The released scripts: queries and values, r = 8, α = 16, AdamW, weight decay 0.1, linear schedule with 6 % warm-up,
    512 tokens, learning rate 5e-4, 60 epochs of 67,349 sentences, 128 a batch.
    """
    run = small()
    return replace(
        run,
        recipe="paper",
        model=DyloraConfig(backbone="FacebookAI/roberta-base", max_tokens=512, update="frozen", idle="drift"),
        data=ImageDataConfig(source="sst2"),
        train=replace(
            run.train, steps=60 * 67349 // 128, batch_size=128, learning_rate=5e-4, weight_decay=0.1
        ),
    )
