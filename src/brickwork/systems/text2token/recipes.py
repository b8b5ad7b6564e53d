"""Runs of ``text2token``: each function returns one complete configuration."""

from dataclasses import replace

from brickwork.data.config import DataConfig
from brickwork.encoders.config import TextEncoderConfig
from brickwork.systems.text2token.config import Config, Filter
from brickwork.training.config import TrainConfig
from brickwork.training.run import RunConfig


def smoke() -> RunConfig:
    """Seconds: a made-up language, a transformer of 2 layers that first learns to fill in masked tokens; for tests.

    ``brickwork train text2token --recipe smoke --out runs/smoke``. Its first losses are pinned.
    """
    encoder = TextEncoderConfig(backbone="scratch", num_layers=2, width=32, vocab_size=500, max_tokens=32)
    return RunConfig(
        model=Config(
            encoder=encoder,
            words=200,
            filter=Filter(most_documents=0.2, frequent=10),
            warm_share=0.25,
            related_words=8,
        ),
        data=DataConfig(source="toy", limit=600),
        train=TrainConfig(steps=200, batch_size=32, learning_rate=3e-3, precision="fp32", validate_every=50),
    )


def small() -> RunConfig:
    """MiniLM on plain texts: ``brickwork train text2token --data docs/``. Its vectors stay, and learn to be read.

    CPU, minutes: each text is encoded once. Rows of words start as MiniLM's own vectors of them.
    """
    encoder = TextEncoderConfig(max_tokens=256, train_tokens=128, adapt="frozen")
    return RunConfig(
        model=Config(encoder=encoder, head="encoded"),
        data=DataConfig(source="python"),
        train=TrainConfig(steps=300, batch_size=32, learning_rate=3e-3, validate_every=300),
    )


def whole() -> RunConfig:
    """The same, and the encoder learns as well: ``--recipe whole``, or ``--backbone`` any other encoder of texts.

    For texts unlike those that the encoder was trained on; on NFCorpus it made MiniLM's vectors worse (lab/LOG.md). CPU.
    """
    run = small()
    return replace(
        run,
        model=replace(
            run.model, encoder=TextEncoderConfig(max_tokens=256, train_tokens=128), head_rate=100.0
        ),
        train=replace(run.train, learning_rate=3e-5, validate_every=100),
    )


def scratch() -> RunConfig:
    """No pretrained weights: a transformer of 4 layers that first learns to fill in masked tokens of the data.

    ``brickwork train text2token --recipe scratch --data docs/``. CPU.
    """
    run = small()
    encoder = TextEncoderConfig(backbone="scratch", max_tokens=64)
    return replace(
        run,
        model=Config(encoder=encoder, warm_share=0.3),
        train=replace(run.train, steps=2000, batch_size=64, learning_rate=1e-3, validate_every=500),
    )


def gpu() -> RunConfig:
    """SmolLM2-135M with its own head and adapters, related words by a prompt: nearest to the paper; one GPU, not measured.

    ``brickwork train text2token --recipe gpu --data docs/``. Any causal language model: ``--backbone FOLDER``.
    """
    run = small()
    encoder = TextEncoderConfig(backbone="smollm2-135m", max_tokens=128, adapt="lora", lora_rank=16)
    return replace(
        run,
        model=Config(encoder=encoder, head="own", related="prompt"),
        train=replace(run.train, steps=1000, batch_size=128, learning_rate=2e-4, validate_every=250),
    )
