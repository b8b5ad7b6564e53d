"""Bricks while they are trained: parameters beside a frozen model, put on it for a forward pass."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.modules.adapters import find_targets
from brickwork.modules.bricks import Kind
from brickwork.modules.low_rank import (
    LowRankLayer,
    RankState,
    Scaling,
    Segments,
    first_rows,
    layer_shape,
    widths,
)
from brickwork.modules.mounting import BesideMlp, in_place, prompted
from brickwork.systems.configurable_foundation_models.config import BricksConfig

RANK, ALPHA, LENGTH, NEURONS = 8, 16.0, 8, 32


class LearntLora(nn.Module):
    """A and B of every adapted layer; the update is scaled by α/b at rank b (DyLoRA), or by α/r where only r is trained: cut
    to fewer ranks, that is a part of the same sum, as in LoRA and peft."""

    kind: Kind = "lora"

    def __init__(self, model: nn.Module, config: BricksConfig):
        super().__init__()
        chosen = find_targets(model, config.targets)
        self.rank, self.alpha = config.rank or RANK, config.alpha or ALPHA
        shapes = {name: layer_shape(layer) for name, layer in chosen.items()}
        most = min(min(d * math.prod(kernel), m) for d, m, kernel in shapes.values())
        if self.rank > most:
            raise ConfigError(
                f"rank={self.rank} is larger than a layer to adapt; use at most {most}, or other targets"
            )
        self.scaling: Scaling = "alpha/r" if config.ranks == "full" else "alpha/b"
        self.names = tuple(chosen)
        sizes = (self.rank,) if config.ranks == "full" else tuple(range(1, self.rank + 1))
        self.segments = Segments(first_rows(shapes.values(), self.rank), sizes, widths(shapes.values()))

    @contextmanager
    def on(self, model: nn.Module, rank: int | None = None) -> Iterator[None]:
        """``model`` with the adapters at ``rank`` (none: r) while entered."""
        with in_place(model, self._layers(model, rank or self.rank)):
            yield

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """A and B by layer, as a brick has them."""
        results: dict[str, Tensor] = {}
        for name, layer in self._layers(model, self.rank).items():
            down, up = layer.factors(self.rank)
            results |= {f"{name}.A": down.detach().clone(), f"{name}.B": up.detach().clone()}
        return results

    def _layers(self, model: nn.Module, rank: int) -> dict[str, LowRankLayer]:
        state = RankState(rank)
        self.segments.forget()
        how: dict[str, Any] = {"alpha": self.alpha, "scaling": self.scaling, "dropout": 0.0}
        return {
            name: LowRankLayer(model.get_submodule(name), state, self.segments, place, **how)
            for place, name in enumerate(self.names)
        }


class LearntPrompt(nn.Module):
    """Vectors before the first token, drawn as small as embeddings are."""

    kind: Kind = "prompt"

    def __init__(self, model: nn.Module, config: BricksConfig):
        super().__init__()
        table: Tensor = model.get_input_embeddings().weight  # type: ignore[operator]
        self.prompt = nn.Parameter(0.02 * torch.randn(config.length or LENGTH, table.shape[1]))

    @contextmanager
    def on(self, model: nn.Module, rank: int | None = None) -> Iterator[None]:
        """``model`` with the prompt while entered."""
        with prompted(model, self.prompt):
            yield

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """The prompt, as a brick has it."""
        return {"prompt": self.prompt.detach().clone()}


class LearntExpert(nn.Module):
    """A block of neurons beside each MLP: ``down`` is zero at the start, so that the model does what it did."""

    kind: Kind = "expert"

    def __init__(self, model: nn.Module, config: BricksConfig):
        super().__init__()
        self.names = tuple(name for name, _ in model.named_modules() if name.rpartition(".")[2] == "mlp")
        if not self.names:
            raise ConfigError(
                "kind=expert: this base has no modules called 'mlp'; use kind=lora or kind=prompt"
            )
        width = model.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
        neurons = config.neurons or NEURONS
        scale = 1 / math.sqrt(width)
        self.up = nn.ParameterList(nn.Parameter(scale * torch.randn(neurons, width)) for _ in self.names)
        self.down = nn.ParameterList(nn.Parameter(torch.zeros(width, neurons)) for _ in self.names)

    @contextmanager
    def on(self, model: nn.Module, rank: int | None = None) -> Iterator[None]:
        """``model`` with the blocks while entered."""
        parts = {
            name: BesideMlp(model.get_submodule(name), up, down)
            for name, up, down in zip(self.names, self.up, self.down)
        }
        with in_place(model, parts):
            yield

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """``up`` and ``down`` by MLP, as a brick has them."""
        pairs = zip(self.names, self.up, self.down)
        return {
            f"{n}.{which}": p.detach().clone() for n, *two in pairs for which, p in zip(("up", "down"), two)
        }


LEARNT: dict[str, Any] = {"lora": LearntLora, "prompt": LearntPrompt, "expert": LearntExpert}
