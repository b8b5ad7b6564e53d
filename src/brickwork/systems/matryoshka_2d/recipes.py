"""Runs of ``matryoshka-2d``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.config import DataConfig
from brickwork.encoders.config import TextEncoderConfig
from brickwork.systems.matryoshka_2d.system import Config
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: a made-up language of synonyms, a transformer of 3 layers and 32 dimensions.

    ``brickwork train matryoshka-2d --recipe smoke --out runs/smoke``. For tests; its first losses are pinned.
    """
    encoder = TextEncoderConfig(
        backbone="scratch", num_layers=3, width=32, num_heads=2, mlp_width=64, vocab_size=500, max_tokens=32
    )
    return RunConfig(
        model=Config(encoder=encoder, dims=(4, 8, 16, 32)),
        data=DataConfig(source="toy", limit=600),
        train=TrainConfig(steps=200, batch_size=32, learning_rate=3e-3, precision="fp32", validate_every=50),
    )


def small() -> RunConfig:
    """The main job on text pairs: MiniLM, prefixes 24 … 384 × layers 0 … 6; ``brickwork train matryoshka-2d
    --data PATH``.

    Pairs come from the user's file, or from the headings, neighbours and openings of plain documents. Texts are cut at 64
    tokens while it trains, and read up to MiniLM's own 256 afterwards.
    """
    encoder = TextEncoderConfig(max_tokens=256, train_tokens=64)
    return RunConfig(
        model=Config(encoder=encoder, variant="mapped", dims=(24, 48, 96, 192, 384)),
        data=DataConfig(source="python"),
        train=TrainConfig(steps=60, batch_size=32, learning_rate=5e-5),
    )


def demo() -> RunConfig:
    """What ``brickwork demo`` trains: ``small`` on 8,000 documented functions of the installed Python
    packages.

    The whole demo takes about five minutes on two cores.
    """
    run = small()
    return replace(run, data=replace(run.data, limit=8000), train=replace(run.train, validate_every=20))


def smoke_closed_form() -> RunConfig:
    """The closed form on the made-up language of ``smoke`` and its encoder with fresh weights; for tests."""
    run = smoke()
    model = Config(encoder=run.model.encoder, variant="closed_form", dims=run.model.dims)
    return replace(run, model=model, train=TrainConfig())


def smoke_mapped() -> RunConfig:
    """``smoke``, trained at full depth with maps learnt afterwards; for tests."""
    run = smoke()
    model = Config(encoder=run.model.encoder, variant="mapped", dims=run.model.dims)
    return replace(run, model=model, train=replace(run.train, steps=60))


def closed_form() -> RunConfig:
    """Without training or labels: MiniLM at its own 256 tokens, prefixes 12 … 384 × layers 0 … 6 by principal axes and
    ridge regressions from 5,000 texts of the data; a minute or two.

    ``brickwork train matryoshka-2d --recipe closed-form --data PATH``; another model by ``--backbone``.
    """
    return RunConfig(
        model=Config(variant="closed_form"), data=DataConfig(source="python"), train=TrainConfig()
    )


def scratch() -> RunConfig:
    """A transformer of 6 layers and 128 dimensions, with a tokenizer trained on the data: no pretrained weights.

    ``brickwork train matryoshka-2d --recipe scratch --data PATH``. Not measured at this length; the claims
    use a shorter one.
    """
    run = small()
    encoder = TextEncoderConfig(
        backbone="scratch", num_layers=6, width=128, num_heads=4, mlp_width=256, max_tokens=64
    )
    return replace(
        run,
        model=Config(encoder=encoder),
        train=replace(run.train, steps=3000, batch_size=64, learning_rate=1e-3),
    )


def sts() -> RunConfig:
    """STS-B scored pairs with the paper's objective (AnglE: cosine and angle terms), MiniLM; not measured.

    ``brickwork train matryoshka-2d --recipe sts``. Needs the set in ``BRICKWORK_DATA``.
    """
    run = small()
    return replace(
        run,
        model=Config(encoder=TextEncoderConfig(max_tokens=128), dims=run.model.dims, objective="angle"),
        data=DataConfig(source="sts_benchmark"),
        train=replace(run.train, steps=600, learning_rate=3e-5),
    )


def gpu() -> RunConfig:
    """12 layers of 384 dimensions from scratch on the Python corpus, one GPU; not measured.

    ``brickwork train matryoshka-2d --recipe gpu``.
    """
    run = scratch()
    encoder = replace(
        run.model.encoder, num_layers=12, width=384, num_heads=12, mlp_width=1536, max_tokens=128
    )
    return replace(
        run,
        model=replace(run.model, encoder=encoder),
        train=replace(run.train, steps=5000, batch_size=256, learning_rate=5e-4),
    )
