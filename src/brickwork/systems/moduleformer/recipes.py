"""Runs of ``moduleformer``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.systems.moduleformer.system import Data, ModuleFormerConfig
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: questions and statements of a made-up language, two layers of 4 + 6 modules of 32 dimensions.

    ``brickwork train moduleformer --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    return RunConfig(
        model=ModuleFormerConfig(
            context=32,
            width=32,
            num_layers=2,
            attention_modules=4,
            attention_hidden=16,
            feed_forward_modules=6,
            hidden=32,
            router_hidden=16,
        ),
        data=Data(source="toy", limit=400, max_passage_words=10),
        train=TrainConfig(steps=200, batch_size=32, learning_rate=3e-3, precision="fp32", validate_every=50),
    )


def small() -> RunConfig:
    """Your own texts, ``brickwork train moduleformer --data FOLDER``: 4 layers of 8 + 16 modules, 2,000 merged tokens.

    Sub-folders (or files) are domains. Without ``--data``: documentation and source of the installed Python packages.
    """
    return RunConfig(
        model=ModuleFormerConfig(vocab_size=2000),
        data=Data(source="python", limit=10_000, max_passage_words=80, max_held_out=400),
        train=TrainConfig(steps=1000, batch_size=16, learning_rate=1e-3, weight_decay=0.1),
    )


def claims() -> RunConfig:
    """What the claims train: bytes of English prose and of Python source, two layers of 8 + 16 modules of 64 numbers.

    ``brickwork train moduleformer --recipe claims``. Needs WikiText-2 small in ``BRICKWORK_DATA``.
    """
    return RunConfig(
        model=ModuleFormerConfig(
            context=64, width=64, num_layers=2, attention_hidden=32, hidden=64, router_hidden=32
        ),
        data=Data(source="wikitext2", also=("stdlib",), limit=12_000, max_passage_words=13, max_held_out=600),
        train=TrainConfig(
            steps=400, batch_size=24, learning_rate=3e-3, precision="fp32", save_every=0, validate_every=0
        ),
    )


def gpu() -> RunConfig:
    """8 layers of 16 + 32 modules of 512 numbers on the Python corpus, in bfloat16; one GPU, not measured.

    ``brickwork train moduleformer --recipe gpu``.
    """
    run = small()
    return replace(
        run,
        model=replace(
            run.model,
            vocab_size=8000,
            context=512,
            width=512,
            num_layers=8,
            attention_modules=16,
            attention_hidden=256,
            num_heads=4,
            feed_forward_modules=32,
            hidden=512,
            router_hidden=256,
        ),
        data=replace(run.data, limit=None, max_passage_words=400),
        train=replace(run.train, steps=5000, batch_size=64, learning_rate=6e-4),
    )
