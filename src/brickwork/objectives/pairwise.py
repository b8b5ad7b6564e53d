"""Which loss goes with which data, and the loss of a batch of pairs as a function of embeddings alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

from torch import Tensor

from brickwork.core.errors import DataError
from brickwork.core.types import Batch
from brickwork.objectives.contrastive import angle, cosent, info_nce
from brickwork.objectives.nested import BaseLoss

Objective = Literal["info_nce", "cosent", "angle", "cross_entropy"]

# Data kind -> the objectives that can use it, the default first.
_SUITABLE: Mapping[str, tuple[Objective, ...]] = {
    "pairs": ("info_nce",),
    "triplets": ("info_nce",),
    "scored": ("cosent", "angle"),
    "labelled": ("cross_entropy",),
}
_NEEDS = {
    "info_nce": "pairs (columns anchor, positive) or triplets (and negative)",
    "cosent": "scored pairs (columns anchor, positive, score)",
    "angle": "scored pairs (columns anchor, positive, score)",
    "cross_entropy": "labelled inputs (columns input, label)",
}


def choose_objective(
    asked: Literal["auto"] | Objective, kind: str, offered: Sequence[Objective], who: str
) -> Objective:
    """The objective for data of this kind: the one that was asked for, or with ``auto`` the one that suits.

    Raises:
        DataError: the data is of a kind that the objective, or the system ``who``, cannot use; names what is
            needed.
    """
    suitable = [name for name in _SUITABLE.get(kind, ()) if name in offered]
    if asked == "auto" and suitable:
        return suitable[0]
    if asked != "auto" and asked in suitable:
        return asked
    wanted = offered if asked == "auto" else (asked,)
    needs = " or ".join(dict.fromkeys(_NEEDS[name] for name in wanted))
    objective = "" if asked == "auto" else f" with objective '{asked}'"
    raise DataError(
        f"{who}{objective} needs {needs}; this data is {kind}."
        + (
            f" Set model.objective={suitable[0]}, or auto"
            if suitable
            else " Choose other data or another system"
        )
    )


def pair_loss(objective: Objective, batch: Batch, temperature: float) -> BaseLoss:
    """The loss of a batch of pairs as a function of its (prefixes of) embeddings: anchor, positive[, negative].

    ``info_nce`` reads the batch's ``group``, and with mined negatives its ``negative_group``, if there is one; ``cosent``
    and ``angle`` its ``score``, with 1/``temperature`` as their scale. ``angle`` is AnglE for scored pairs: its cosine term
    and its angle term, with weight 1 each (Li & Li 2023, eq. 9, without the in-batch term).
    """
    if objective == "info_nce":
        group, answered = batch.get("group"), batch.get("negative_group")
        return partial(info_nce, temperature=temperature, group=group, negative_group=answered)
    score, scale = batch["score"], 1 / temperature
    if objective == "cosent":
        return partial(cosent, score=score, scale=scale)

    def both(anchor: Tensor, positive: Tensor) -> Tensor:
        return cosent(anchor, positive, score, scale=scale) + angle(anchor, positive, score, scale=scale)

    return both
