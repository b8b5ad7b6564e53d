"""Hard negatives for the pairs of a run, once its model is there to find them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import ConfigError
from brickwork.core.files import read_json
from brickwork.encoders.config import FRESH

if TYPE_CHECKING:
    from brickwork.data.types import TaskData
    from brickwork.training.run import RunConfig

NEGATIVES = "negatives.json"
"""Which rows of a run got which hard negatives."""


def with_hard_negatives(
    run: "RunConfig", system: Any, data: "TaskData", assets: Path | None = None
) -> "TaskData":
    """The data of a run with the negatives that ``data.hard_negatives`` asks for; without it, as it is.

    ``assets``: a run folder, whose negatives are used again.

    Raises:
        ConfigError: the data or the system has no use for them, or the model that is to find them has never learnt.
        DataError: no pair has one.
    """
    options = getattr(run.data, "hard_negatives", None)
    if options is None or options.by is None:
        return data
    from brickwork.training.hard_negatives import Pool, bm25, cosines, from_dict, mine, to_dict, triplets

    _refuse(run, system, data)
    pool = Pool.of(data.train)
    kept = assets / NEGATIVES if assets else None
    if kept and kept.is_file():
        mined = from_dict(read_json(kept), pool, str(kept))
    elif options.by == "bm25":
        mined = mine(pool, bm25(pool), options, run.seed)
    else:
        training = system.training
        representation = system.representation()
        mined = mine(
            pool,
            cosines(lambda texts, role: representation.encode(texts, role=role), pool),
            options,
            run.seed,
        )
        system.train(training)
    pairs, found = len(data.train), len(set(mined.rows))
    hard = len(mined.rows) - mined.filled
    note = f"hard negatives by {options.by}: {hard:,} for {found - mined.filled:,} of {pairs:,} pairs"
    if mined.filled:
        note += f"; {mined.filled:,} pairs had none and got one at random"
    if found < pairs:
        note += f"; {pairs - found:,} are left out, all texts answer them"
    return replace(
        data, train=triplets(data.train, pool, mined), mined=to_dict(mined), notes=(*data.notes, note)
    )


def _refuse(run: "RunConfig", system: Any, data: "TaskData") -> None:
    from brickwork.core.types import Fits

    asked = f"data.hard_negatives.by={run.data.hard_negatives.by}"
    if data.kind != "pairs" or data.modality != "text":
        why = "which have negatives already" if data.kind == "triplets" else f"and {data.name} holds others"
        raise ConfigError(
            f"{asked} has no effect with {data.kind} of {data.modality}s: it is for pairs of texts, {why}; leave it out"
        )
    if isinstance(system, Fits):
        raise ConfigError(
            f"{asked} has no effect with a system that takes no steps of training; leave it out"
        )
    backbone = getattr(getattr(run.model, "encoder", None), "backbone", None)
    if run.data.hard_negatives.by == "model" and not run.start and backbone in FRESH:
        raise ConfigError(
            f"{asked}: the encoder '{backbone}' has fresh weights and cannot tell what is hard; use bm25, a pretrained "
            "backbone, or start"
        )
