"""Parts of a model of transformers: its first layers only, with what goes in and comes out of each of them.

Views share all parameters with their model, and are made anew for each pass: passes of several threads do not see each
other's hidden states.
"""

import contextlib
import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def run_first(
    model: nn.Module, path: str, upto: int, *arguments: Any, without: str = "", **options: Any
) -> tuple[list[Tensor], Any]:
    """Runs ``model`` with the first ``upto`` of the layers in its list at ``path``, and the part at ``without`` left out.

    Returns what goes into the first layer and what comes out of each, and the model's output (of no layers: ``None``).
    """
    stack: Any = model.get_submodule(path)
    hidden: list[Tensor] = []
    if upto == 0:
        view = replaced(model, path, nn.ModuleList([_Caught(hidden)]))
        try:
            view(*arguments, **options)
        except _Enough:
            return hidden, None
    layers = [_recorded(layer, hidden, before=place == 0) for place, layer in enumerate(stack[:upto])]
    view = replaced(model, path, nn.ModuleList(layers))
    if without:
        view = replaced(view, without, nn.Identity())
    return hidden, view(*arguments, **options)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without its progress bars and notes, while models are built: what is wrong with them is said by us."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


class _Enough(Exception):
    """The hidden state that was wanted is there."""


class _Caught(nn.Module):
    """Stands for the first layer where none is to run."""

    def __init__(self, hidden: list[Tensor]):
        super().__init__()
        self.hidden = hidden

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Keeps what it is given, and ends the pass."""
        self.hidden.append(x)
        raise _Enough


def _recorded(layer: nn.Module, hidden: list[Tensor], *, before: bool) -> nn.Module:
    """A copy of a layer that shares all its parameters and adds its output (first its input too) to ``hidden``.

    Hooks that are on the layer already (a recorder's) stay, and come before.
    """
    view = copy.copy(layer)
    view._forward_hooks = OrderedDict(layer._forward_hooks)
    view._forward_pre_hooks = OrderedDict(layer._forward_pre_hooks)
    if before:
        view.register_forward_pre_hook(lambda _, given: hidden.append(given[0]))

    def keep(_: nn.Module, given: Any, output: Any) -> None:
        hidden.append(output if isinstance(output, Tensor) else output[0])

    view.register_forward_hook(keep)
    return view


def replaced(module: nn.Module, path: str, replacement: nn.Module) -> nn.Module:
    """A shallow copy of ``module`` with another part at ``path``; nothing else is copied."""
    name, _, rest = path.partition(".")
    child: Any = module._modules[name]
    view = copy.copy(module)
    view._modules = dict(module._modules)
    view._modules[name] = replaced(child, rest, replacement) if rest else replacement
    return view
