"""What was found out about a language model's neurons, as tables.

``found``: an :class:`~brickwork.systems.configurable_foundation_models.emergent.EmergentBricks`.
"""

from typing import Any

import numpy as np
import torch

from brickwork.data.types import Examples
from brickwork.systems.configurable_foundation_models.erasing import INDICATORS, SHARES

SPECIALISTS = 50
"""Neurons of each domain that are listed."""


def found_tables(found: Any, examples: Examples) -> dict[str, dict[str, Any]]:
    """``specialists``, ``matrix``, ``thinned``, ``texts``: see :meth:`EmergentBricks.analyse`."""
    tables: dict[str, dict[str, Any]] = {
        "specialists": specialists(found),
        "matrix": _matrix(found),
        "thinned": {
            "left_out_by": [by for by in INDICATORS for _ in SHARES],
            "share": list(SHARES) * len(INDICATORS),
            "nats_more": found.thin.double().flatten().tolist(),
        },
    }
    if len(examples):
        active = found.texts_by_domain(list(examples.columns["input"]))
        tables["texts"] = {
            "of": [str(name) for name in examples.columns["domain"]],
            "most_active": [found.domains[place] for place in active.argmax(1).tolist()],
            **{f"activity/{name}": active[:, place].tolist() for place, name in enumerate(found.domains)},
        }
    return tables


def specialists(found: Any, most: int = SPECIALISTS) -> dict[str, list[Any]]:
    """The ``most`` neurons of each domain with the highest scores, best first."""
    table: dict[str, list[Any]] = {
        name: []
        for name in ("domain", "layer", "neuron", "score", "score_of_the_next_domain", "resident", "group")
    }
    resident = found.residents()
    neurons = found.shape[1]
    for place, name in enumerate(found.domains):
        score = found.score[place].flatten()
        others = torch.cat([found.score[:place], found.score[place + 1 :]]).amax(0).flatten()
        for number in score.topk(min(most, len(score))).indices.tolist():
            layer, neuron = divmod(number, neurons)
            row = (
                name, layer, neuron, float(score[number]), float(others[number]), bool(resident[layer, neuron]),
                int(found.groups[layer, neuron]),
            )  # fmt: skip
            for column, value in zip(table.values(), row):
                column.append(value)
    return table


def _matrix(found: Any) -> dict[str, list[Any]]:
    matrix = np.round(found.matrix(), 3)
    columns = {
        f"perplexity_percent/{name}": matrix[:, place].tolist() for place, name in enumerate(found.domains)
    }
    return {"erased": found.rows(), **columns}
