"""Which heads stay: a condition on their scores, as a user writes it."""

import re
from collections.abc import Mapping

from torch import Tensor

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError
from brickwork.systems.sae_circuits.effects import Head

_CONDITION = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*([-+0-9.eE]+)\s*")
_TOP = re.compile(r"\s*top\s+(\d+)\s*")


def kept_heads(scores: Mapping[str, Tensor], keep: str) -> set[Head]:
    """The heads (layer, head) for which ``keep`` holds: ``p<0.01``, ``effect>0.1``, or ``top 20`` by effect.

    Raises:
        ConfigError: it is no such condition, or holds for none.
    """
    if top := _TOP.fullmatch(keep):
        count = int(top[1])
        heads = scores["effect"].shape[1]
        order = (-scores["effect"]).flatten().argsort(stable=True)[:count].tolist()
        chosen = {divmod(place, heads) for place in order}
    else:
        chosen = _fulfilling(scores, keep)
    if not chosen:
        raise ConfigError(
            f"no head has {keep.strip()}, so that none would be left; give another condition, as 'top 20'"
        )
    return chosen


def _fulfilling(scores: Mapping[str, Tensor], keep: str) -> set[Head]:
    condition = _CONDITION.fullmatch(keep)
    if condition is None:
        raise ConfigError(
            f"keep={keep!r} is no condition; write for example 'p<0.01', 'effect>0.1' or 'top 20'"
        )
    name, sign, number = condition.groups()
    if name not in scores:
        raise ConfigError(f"keep={keep!r}: heads have no '{name}': {nearest(name, scores)}")
    try:
        limit = float(number)
    except ValueError as error:
        raise ConfigError(f"keep={keep!r}: {number} is no number") from error
    value = scores[name]
    holds = {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}[sign]
    return {(int(layer), int(head)) for layer, head in holds.nonzero().tolist()}
