"""Runs of ``configurable-foundation-models``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.systems.configurable_foundation_models.config import BricksConfig, Emergent, OwnBase
from brickwork.systems.configurable_foundation_models.data import Data
from brickwork.training.config import Stage, TrainConfig
from brickwork.training.run import RunConfig

BASE_STEPS = 60
OWN_BASE = ("encoder.model.model.layers.*", "encoder.model.model.norm.*", "encoder.model.lm_head.*")
"""What the stage of a base from scratch trains: all but its input embeddings, in which the keys lie."""


def smoke() -> RunConfig:
    """Seconds: a base of two layers learns questions and statements of a made-up language, then a brick for each.

    ``brickwork train configurable-foundation-models --recipe smoke --out runs/smoke``. For tests.
    """
    return RunConfig(
        model=BricksConfig(base=OwnBase(width=32, num_layers=2, num_heads=2, hidden=64), context=32),
        data=Data(source="toy", limit=300, max_passage_words=10),
        train=TrainConfig(
            steps=BASE_STEPS + 60, batch_size=16, learning_rate=5e-3, precision="fp32", validate_every=60
        ),
        stages=(
            Stage(name="base", steps=BASE_STEPS, trains=OWN_BASE),
            Stage(name="bricks", trains=("bricks.*",)),
        ),
    )


def small() -> RunConfig:
    """SmolLM2-135M, or a language model of yours, and a LoRA brick of any rank to 8 for each sub-folder of ``--data``.

    Another base: ``--set model.base=FOLDER_OR_HUB_ID``. CPU, minutes.
    """
    return RunConfig(
        model=BricksConfig(),
        data=Data(source="python", limit=400, max_passage_words=80, max_held_out=60),
        train=TrainConfig(steps=100, batch_size=4, learning_rate=2e-3, weight_decay=0.0),
    )


def claims() -> RunConfig:
    """What the claims train: a base of bytes on prose, documentation and source, then a brick for each domain.

    ``brickwork train configurable-foundation-models --recipe claims``. Needs WikiText-2 small in ``BRICKWORK_DATA``.
    """
    return RunConfig(
        model=BricksConfig(base=OwnBase(width=128, num_layers=4, hidden=512), context=96),
        data=Data(
            source="wikitext2", also=("stdlib", "python"), limit=2000, max_passage_words=20, max_held_out=200
        ),
        train=TrainConfig(
            steps=1200, batch_size=16, learning_rate=2e-3, precision="fp32", save_every=0, validate_every=0
        ),
        stages=(Stage(name="base", steps=600, trains=OWN_BASE), Stage(name="bricks", trains=("bricks.*",))),
    )


def gpu() -> RunConfig:
    """All linear layers at ranks to 16, longer windows; one GPU, not measured."""
    run = small()
    targets = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
    return replace(
        run,
        model=replace(run.model, rank=16, targets=targets, context=512),
        data=replace(run.data, limit=None, max_passage_words=400),
        train=replace(run.train, steps=1500, batch_size=32, learning_rate=5e-4),
    )


def emergent() -> RunConfig:
    """Which neurons of a language model serve which domain of ``--data``, and what erasing them costs; trains nothing.

    Without ``--data``: seven domains of public sets. Another model: ``--set model.base=FOLDER_HUB_ID_OR_RUN``. CPU, minutes:
    ``--dry-run`` says how many.
    """
    return RunConfig(
        model=BricksConfig(context=64, find=Emergent()),
        data=Data(
            source="seven-domains", limit=60, max_passage_words=60, validation_share=0.0, test_share=0.2
        ),
        train=TrainConfig(save_every=1),
    )
