"""A global workspace, after Chateau-Laurent, VanRullen: Learning to Chain Operations by Routing Information Through a Global
Workspace. arXiv 2503.01906. Alignment of domains after Devillers, Maytié, VanRullen, arXiv 2306.15711, and ruflab/shimmer.

What is learnt: a controller that opens gates, so that modules change one vector in turn. a + b becomes "load a, increment
b times, output", from the loss of the sum alone. **The equations are ours**: only the abstract of the paper was at hand, and
there is no code of the authors'. They follow the description and are checked to give the results that the abstract tells.

| paper | here                     | shape     | meaning                                                     |
|-------|--------------------------|-----------|-------------------------------------------------------------|
| w_t   | ``ChainRun.workspaces``  | (T, B, D) | the workspace; D = number of sums, or of the encoder's latent |
| o_t   | ``ChainRun.output``      | (B, D)    | the output register, after the last step                    |
| γ_t   | ``ChainRun.gates``       | (T, B, 3) | gates of Input, Increment, Output                           |
| u_t   | ``control``              | (T, B, ·) | the second addend, seen by the controller only              |
| T, H  | ``num_steps``, ``hidden``|           | routing steps; units of the controller                      |
| I     | ``chain.load``           |           | Input: one-hot(a), or the frozen encoder's latent of image a |
| Inc   | ``chain.shift``, ``chain.turn``, ``LearnedIncrement`` | | hand-designed (S w), or learned    |
| e, d  | ``DomainWorkspace``      |           | encoders and decoders of domains; w = tanh(Σ α_i e_i(x_i))  |

Equations (soft routing; numbers are those of the README):
  γ_t = softmax(W h_t), h_t = LSTM(u_t, h_{t−1})                                     (1)
  w_t = γᴵ I(a) + γᶜ Inc(w_{t−1}) + γᴼ w_{t−1}                                       (2)
  o_t = γᴼ w_{t−1} + (1 − γᴼ) o_{t−1},  w_0 = o_0 = 0                                (3)
  L   = −log(o_T[a + b] + 1e-8), or the cross-entropy of a readout of o_T            (4)

Flow: data.arithmetic or data.domains → modules.workspace → the end task or objectives.alignment → training.loop →
representation.kept. The parts are ``chain.py`` (1–4), ``align.py``, ``baselines.py`` (for the claims).

Differences from the paper: see README.md.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from brickwork.core.errors import ConfigError, DataError
from brickwork.data.types import TaskData
from brickwork.systems.global_workspace.align import AlignmentSystem
from brickwork.systems.global_workspace.arithmetic import addition_task
from brickwork.systems.global_workspace.baselines import BaselineSystem
from brickwork.systems.global_workspace.chain import AdditionSystem
from brickwork.systems.global_workspace.config import (
    LOSSES,
    AlignConfig,
    BaselineConfig,
    ChainConfig,
    GlobalWorkspaceConfig,
)
from brickwork.systems.global_workspace.data import Data
from brickwork.systems.global_workspace.domains import domain_task

Config = GlobalWorkspaceConfig
System = AdditionSystem | AlignmentSystem | BaselineSystem
_KINDS: dict[str, Any] = {"chain": AdditionSystem, "align": AlignmentSystem, "baseline": BaselineSystem}


def load_data(config: Data, seed: int) -> TaskData:
    """Sums of digits (``addition``), or vectors of domains.

    Raises:
        DataError: the source cannot be read; says what is wrong.
    """
    return addition_task(config, seed) if config.source == "addition" else domain_task(config, seed)


def build(config: GlobalWorkspaceConfig, data: TaskData, assets: Path | None = None) -> System:
    """The untrained system for ``data``; a chain or baseline for sums, an alignment for domains.

    Raises:
        DataError: the data is of another kind than the task.
        ConfigError: a reader for numbers, or none for images.
    """
    task = config.task
    if isinstance(task, AlignConfig):
        if data.kind != "domains":
            raise DataError(
                f"task.kind=align needs vectors of two or more domains; {data.name} holds {data.kind}: use --recipe "
                "addition or digits"
            )
        system = _made("align", _align_arguments(task, data))
        assert isinstance(system, AlignmentSystem)
        system.fit_scalings(data.train)
        return system
    if data.kind != "sums":
        raise DataError(
            f"task.kind={task.kind} needs sums (data.source=addition); {data.name} holds {data.kind}. For "
            "vectors of your own domains use --recipe small"
        )
    return _made(task.kind, _sum_arguments(task, data))


def _sum_arguments(task: ChainConfig | BaselineConfig, data: TaskData) -> dict[str, Any]:
    images = data.modality == "image"
    if images != (task.reader is not None):
        what = (
            "images, which need task.reader" if images else "numbers, which have none: leave task.reader out"
        )
        raise ConfigError(
            f"task.reader does not fit: {data.name} holds {what}; see the recipes addition and digits"
        )
    modulo = 10 if data.num_classes == 10 else 0
    if isinstance(task, ChainConfig) and images and not modulo:
        raise ConfigError(
            f"{data.name}: a learned readout starts from the ten classes of the encoder; use data.addition.modulo=10"
        )
    shape = np.asarray(data.train.columns["first"]).shape[1:] if images else None
    arguments: dict[str, Any] = {
        "num_sums": data.num_classes,
        "modulo": modulo,
        "image_shape": list(map(int, shape)) if shape is not None else None,
        **{name: value for name, value in asdict(task).items() if name != "kind"},
    }
    if isinstance(task, ChainConfig):
        arguments |= {name: arguments[name] or 0 for name in ("controller_steps", "increment_hidden")}
    return arguments


def _align_arguments(task: AlignConfig, data: TaskData) -> dict[str, Any]:
    widths = {name: int(np.asarray(values).shape[1]) for name, values in data.train.columns.items()}
    return {
        "widths": widths,
        "layout": {name: list((data.details or {}).get(name, ())) for name in widths},
        "workspace_dim": task.workspace_dim,
        "hidden": task.hidden,
        "num_hidden": task.num_hidden,
        "weights": {name: getattr(task, name) for name in LOSSES},
        "fusion_weights": task.fusion_weights,
        "temperature": task.temperature,
        "seed": torch.initial_seed() % 2**53,  # a number that JSON keeps
    }


def _made(kind: str, arguments: Mapping[str, Any]) -> System:
    system = _KINDS[kind](**arguments)
    system.made_from = {"kind": kind, **arguments}
    return system


def restore(architecture: Mapping[str, Any], tokenizer_json: str | None) -> System:
    """The system that :meth:`architecture` described, with fresh weights.

    Raises:
        ValueError: not a description of one.
    """
    arguments = dict(architecture)
    kind = arguments.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"kind={kind!r} is none of {', '.join(_KINDS)}")
    return _made(kind, arguments)
