"""The arms of the study of text2token: one encoder from scratch, the same warm start, equal steps."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from brickwork.data.config import DataConfig
from brickwork.encoders.config import TextEncoderConfig
from brickwork.studies.bench import Trained
from brickwork.studies.study import Lab, Scale
from brickwork.studies.text2token.halves import cut_alike, found_by, halves
from brickwork.systems.text2token.config import WARM, Config, Filter
from brickwork.training.config import Stage

if TYPE_CHECKING:
    from brickwork.training.run import RunConfig

_HELD = 400
WARM_START, SIMCSE = "warm start", "SimCSE"
ARMS: dict[str, dict[str, Any]] = {
    "two-stage": {},
    "words in the text": {"targets": "data"},
    "mixture": {"targets": "mixture"},
    SIMCSE: {"objective": "dropout", "filter": Filter()},
    "shuffled": {"shuffled": True},
    "unfiltered": {"filter": None},
}


def topics(scale: Scale) -> "RunConfig":
    """Newsgroup posts without their labels; a transformer from scratch, half of the steps on masked tokens, before all arms
    part. Dropout is that of the rival, for all arms."""
    from brickwork.systems.text2token.recipes import scratch

    run = replace(scratch(), recipe="claims: newsgroups, from scratch")
    encoder = TextEncoderConfig(backbone="scratch", max_tokens=64, dropout=0.1)
    if scale == "smoke":
        encoder = replace(encoder, num_layers=2, width=64, vocab_size=2000)
    limit, steps = (800, 120) if scale == "smoke" else (4000, 240)
    return replace(
        run,
        model=Config(encoder=encoder, warm_share=0.5, words=2000 if scale == "smoke" else 8000),
        data=DataConfig(source="newsgroups20", limit=limit, validation_share=0.1),
        train=replace(
            run.train, steps=steps, batch_size=64, learning_rate=1e-3, precision="fp32", validate_every=0
        ),
    )


def arms(lab: Lab, *names: str) -> Any:
    """The named arms, all from the same warm start: a function of seed and data, and what parts them comes after it."""
    run = topics(lab.scale)
    chosen: dict[str, Any] = {name: ARMS[name] for name in names if name in ARMS}
    if WARM_START in names:
        warm = round(run.model.warm_share * run.train.steps)
        chosen[WARM_START] = replace(
            run, train=replace(run.train, steps=warm), stages=(Stage(name=WARM, steps=warm),)
        )
    return lab.arms(run, chosen, tuned_by=None if lab.smoke else validation_score)


@cut_alike()
def validation_score(trained: Trained) -> float:
    """nDCG@10 of the second half of a validation post for its first: what a learning rate is chosen by, without labels."""
    posts = list(trained.data.validation.columns["input"][:_HELD])
    first, second = zip(*map(halves, posts))
    return found_by(trained.system.encode(list(first)), trained.system.encode(list(second)))
