"""What the heads, neurons and residual stream of a model do while it runs: recorded by name, without editing the model.

    with Recorder(model, ["heads", "ffn"], positions="mean") as record:
        for batch in batches:
            model(batch)
    record["layers.3.heads"]        # (texts, H, D): what each head adds to the residual stream

The inputs of two matrices of a block hold all that its heads and neurons do (:mod:`brickwork.modules.places`), so one hook a
place is enough. What is kept is reduced as it comes: memory is that of the results, however many texts there are.

Shape legend: B texts, T tokens, H heads of s dimensions, M neurons, D width.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.modules.places import Place, find_places
from brickwork.modules.token_layout import Pad, TokenLayout, as_grid

Positions = Literal["all", "mean", "last", "overall"]
_BLOCK = 2**18
"""Numbers of one block of rows."""


@contextmanager
def tap(layer: nn.Module, *, output: bool = False) -> Iterator[list[Tensor]]:
    """Collects what goes into ``layer`` while the context lasts: its first positional argument of every call.

    ``output``: what comes out of it instead (of several results the first). Nothing is detached.
    """
    seen: list[Tensor] = []
    with watched(layer, seen.append, output=output):
        yield seen


@contextmanager
def watched(layer: nn.Module, keep: Any, *, output: bool) -> Iterator[None]:
    """Calls ``keep`` with what goes into ``layer`` in every call while the context lasts, or with its ``output``."""
    if output:
        handle = layer.register_forward_hook(
            lambda _, __, result: keep(result if isinstance(result, Tensor) else result[0])
        )
    else:
        handle = layer.register_forward_pre_hook(lambda _, given: keep(given[0]))
    try:
        yield
    finally:
        handle.remove()


class Recorder:
    """Records what places of a model do in every call while the context lasts; entered again, it goes on.

    ``what``: kinds (``heads``, ``ffn``, ``residual``) or names (``layers.3.heads``). ``positions``, the tokens of a text
    that are kept: ``all`` (B, T, …), their ``mean`` or the ``last`` one (B, …), or one mean ``overall`` tokens of all texts.
    ``pad``: which tokens exist, where the call itself does not say it (:class:`TokenLayout`). Padding is left out of means,
    is never the last, and is zero in ``all``. Nothing that is kept has a gradient; :func:`tap` keeps it. Rows are in the
    order in which the model read them (``encode`` reads texts by length, and with ``precision="fp32"`` this very model).

    Raises:
        ConfigError: a kind or a name that the model does not have; or layers that are not known.
    """

    def __init__(
        self,
        model: nn.Module,
        what: str | Collection[str] = "heads",
        *,
        positions: Positions = "all",
        pad: Pad = None,
    ):
        known = find_places(model)
        self.places = {place.name: place for place in known.choose(what)}
        self.positions = positions
        self.layout = TokenLayout(known.around, pad)
        self._open = ExitStack()
        self.clear()

    def clear(self) -> None:
        """Forgets all that was recorded."""
        self._kept: dict[str, list[Tensor]] = {name: [] for name in self.places}
        self._rows = {name: _Rows() for name in self.places}
        self._masks: dict[str, list[Tensor]] = {name: [] for name in self.places}
        self._sums: dict[str, tuple[Tensor, int]] = {}

    def __enter__(self) -> "Recorder":
        with ExitStack() as stack:
            stack.enter_context(self.layout)
            for place in self.places.values():
                keep = self._keeper(place)
                stack.enter_context(watched(place.module, keep, output=place.kind == "residual"))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.close()

    def names(self) -> list[str]:
        return list(self.places)

    def inputs(self, name: str) -> Float[Tensor, "*rows parts size"]:
        """What the parts give before their output weights: of a head its s dimensions, of a neuron its one activation.

        Raises:
            ConfigError: a name that is not recorded, or before the model has run.
        """
        place = self._place(name)
        if self.positions == "overall":
            if name not in self._sums:
                raise self._nothing(name)
            total, count = self._sums[name]
            return place.split((total / count).to(torch.float32))
        rows = self._kept[name] if self.positions == "all" else self._rows[name].blocks()
        if not rows:
            raise self._nothing(name)
        if self.positions == "all":
            longest = max(row.shape[1] for row in rows)
            rows = [F.pad(row, (0, 0, 0, longest - row.shape[1])) for row in rows]
        return place.split(torch.cat(rows))

    def __getitem__(self, name: str) -> Float[Tensor, "*rows"]:
        """``heads``: what each adds to the residual stream (…, H, D), whose sum with the bias is the attention's output.
        ``ffn``: activations (…, M), the factor of each neuron's output weights. ``residual``: (…, D). Raises as
        :meth:`inputs`."""
        place, own = self._place(name), self.inputs(name)
        if place.kind != "heads":
            return own.flatten(-2)
        return torch.einsum("...hs,hsd->...hd", own, place.weight().detach().to(own.dtype))

    def part(self, name: str, index: int) -> Float[Tensor, "*rows"]:
        """The same of one head alone, (…, D), without the memory of all; of one neuron or dimension (…). Raises as
        :meth:`inputs`, and for a part that there is not."""
        place, own = self._place(name), self.inputs(name)
        if not 0 <= index < place.parts:
            raise ConfigError(f"{name} has parts 0 to {place.parts - 1}, and no {index}")
        if place.kind != "heads":
            return own[..., index, 0]
        return own[..., index, :] @ place.weight()[index].detach().to(own.dtype)

    @property
    def mask(self) -> Bool[Tensor, "batch tokens"]:
        """Which tokens exist, of ``positions="all"``. Raises ConfigError for others, or before the model has run."""
        masks = next(iter(self._masks.values()), [])
        if not masks:
            raise ConfigError("positions='all' was not recorded, so there is no mask of tokens")
        longest = max(mask.shape[1] for mask in masks)
        return torch.cat([F.pad(mask, (0, longest - mask.shape[1])) for mask in masks])

    def _place(self, name: str) -> Place:
        if name not in self.places:
            raise ConfigError(f"'{name}' is not recorded; recorded are {', '.join(self.places)}")
        return self.places[name]

    def _nothing(self, name: str) -> ConfigError:
        return ConfigError(f"{name}: nothing is recorded; run the model while the recorder is open")

    def _keeper(self, place: Place) -> Any:
        @torch.no_grad()
        def keep(x: Tensor) -> None:
            grid, mask = as_grid(x.detach(), self.layout.current)
            if self.positions == "overall":
                self._add(place.name, grid, mask)
            elif self.positions == "all":
                exists = grid.new_ones(grid.shape[:2], dtype=torch.bool) if mask is None else mask
                self._kept[place.name].append(grid if mask is None else grid * mask[..., None].to(grid.dtype))
                self._masks[place.name].append(exists)
            else:
                reduce = _mean if self.positions == "mean" else _last
                self._rows[place.name].add(reduce(grid, mask))

        return keep

    def _add(self, name: str, grid: Tensor, mask: Tensor | None) -> None:
        batch, tokens = grid.shape[:2]
        exist = batch * tokens if mask is None else int(mask.sum())
        # A mean a text and then float64: long texts and many of them lose no digits.
        lengths = tokens if mask is None else mask.sum(1, keepdim=True)
        total, count = self._sums.get(name, (0, 0))
        self._sums[name] = ((_mean(grid, mask).double() * lengths).sum(0) + total, exist + count)


class _Rows:
    """Rows that come a few at a time, copied into blocks that double up to 1 MB. Small tensors that are kept between the
    large ones of the passes hold open the holes that these leave: the process would grow by a multiple of what is kept."""

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._free = 0  # rows of the last block

    def add(self, rows: Float[Tensor, "batch inputs"]) -> None:
        while len(rows):
            if not self._free:
                so_far = sum(map(len, self._blocks))
                self._free = max(len(rows), min(so_far, _BLOCK // max(rows.shape[1], 1)))
                self._blocks.append(rows.new_empty(self._free, rows.shape[1]))
            some, block = rows[: self._free], self._blocks[-1]
            start = len(block) - self._free
            block[start : start + len(some)] = some
            self._free -= len(some)
            rows = rows[len(some) :]

    def blocks(self) -> list[Float[Tensor, "_ inputs"]]:
        if not self._blocks:
            return []
        *full, last = self._blocks
        return [*full, last[: len(last) - self._free]]


def _mean(
    grid: Float[Tensor, "batch tokens inputs"], mask: Bool[Tensor, "batch tokens"] | None
) -> Float[Tensor, "batch inputs"]:
    """The mean over tokens that exist, in float32 or better; zero for a text without any."""
    dtype = torch.promote_types(grid.dtype, torch.float32)
    if mask is None:
        return grid.mean(1, dtype=dtype)
    weights = mask.to(dtype) / mask.sum(1, keepdim=True).clamp(min=1)
    return torch.bmm(weights[:, None], grid.to(dtype))[:, 0]


def _last(
    grid: Float[Tensor, "batch tokens inputs"], mask: Bool[Tensor, "batch tokens"] | None
) -> Float[Tensor, "batch inputs"]:
    """The last token that exists; zero for a text without any."""
    if mask is None:
        return grid[:, -1]
    place = grid.shape[1] - 1 - mask.flip(1).to(torch.int64).argmax(1)
    rows = torch.arange(len(grid), device=grid.device)
    return grid[rows, place] * mask.any(1, keepdim=True).to(grid.dtype)


def overall_means(
    model: nn.Module, what: str | Collection[str], batches: Collection[Any] | Iterator[Any], run: Any = None
) -> dict[str, Float[Tensor, "_ _"]]:
    """The mean of what each part gives over all tokens of ``batches``: what ablation by ``"mean"`` takes.

    ``run``: how the model reads a batch, ``model(batch)`` unless given.
    """
    with torch.no_grad(), Recorder(model, what, positions="overall") as record:
        for batch in batches:
            (run or model)(batch)
    return {name: record.inputs(name) for name in record.names()}
