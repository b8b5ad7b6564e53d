"""Bricks on a model and off again, alone or merged: :mod:`brickwork.modules.bricks` says what they are.

The base is never written to: a brick that is put on stands in the model's places beside the old parts, and taking it off
puts these very parts back. So what was there before is there again, to the bit.
"""

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.modules.ablation import ablate
from brickwork.modules.bricks import Brick
from brickwork.modules.low_rank import is_transposed
from brickwork.modules.merging import MergeConfig, merge
from brickwork.modules.model_hash import differences, model_hash


@contextlib.contextmanager
def applied(
    model: nn.Module, brick: Brick | None, rank: int | None = None, *, base: str | None = None
) -> Iterator[None]:
    """``model`` with a brick while entered; afterwards the very parts of before. ``None``: the base itself.

    ``base``: the hash of ``model`` where it is known (it takes about two seconds a GB to compute).

    Raises:
        ConfigError: the brick is of another base, changes layers that the model lacks, or has no such rank.
    """
    if brick is None:
        yield
        return
    found = base or model_hash(model)
    if differ := differences(brick.base, found):
        raise ConfigError(
            f"brick '{brick.name}' was made for the base {brick.base[:12]}… and this model is {found[:12]}…, which differs "
            f"in {differ}: apply it to its own base, or train it anew on this one"
        )
    if brick.kind == "prompt":
        brick.refuse_rank(rank)
        with prompted(model, brick.weights["prompt"]):
            yield
        return
    if brick.kind == "neurons":
        brick.refuse_rank(rank)
        with ablate(model, {name: {tuple(own.tolist()): "zero"} for name, own in brick.weights.items()}):
            yield
        return
    parts: dict[str, nn.Module]
    if brick.kind == "expert":
        brick.refuse_rank(rank)
        parts = {
            name: BesideMlp(
                _part(model, name, brick), brick.weights[f"{name}.up"], brick.weights[f"{name}.down"]
            )
            for name in brick.layers()
        }
    else:
        parts = {name: changed(_part(model, name, brick), part) for name, part in brick.change(rank).items()}
    with in_place(model, parts):
        yield


@contextlib.contextmanager
def in_place(model: nn.Module, parts: Mapping[str, nn.Module]) -> Iterator[None]:
    """``parts`` in the model's places of these names while entered."""
    before = {name: model.get_submodule(name) for name in parts}
    try:
        for name, part in parts.items():
            _put(model, name, part)
        yield
    finally:
        for name, part in before.items():
            _put(model, name, part)


@torch.no_grad()
def changed(layer: nn.Module, change: Tensor) -> nn.Module:
    """A layer with W0 + ΔW; the one that is given stays as it is.

    Raises:
        ConfigError: ΔW has another shape.
    """
    weight: Any = layer.weight
    delta = change.T if is_transposed(layer) else change
    if delta.shape != weight.shape:
        raise ConfigError(
            f"a change of shape {tuple(delta.shape)} for a layer of {tuple(weight.shape)}: this brick is of another base"
        )
    other = copy.copy(layer)
    other._parameters = dict(layer._parameters)
    other.weight = nn.Parameter(weight + delta.to(weight), requires_grad=False)
    return other


class BesideMlp(nn.Module):
    """An MLP and a block of neurons beside it: y = MLP(x) + down·gelu(up·x).

    ``down`` of zeros leaves the model what it was: that is how a block begins.
    """

    def __init__(
        self, mlp: nn.Module, up: Float[Tensor, "hidden width"], down: Float[Tensor, "width hidden"]
    ):
        super().__init__()
        self.mlp = mlp
        self.up = up if isinstance(up, nn.Parameter) else nn.Parameter(up, requires_grad=False)
        self.down = down if isinstance(down, nn.Parameter) else nn.Parameter(down, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (…, width) → (…, width)."""
        return self.mlp(x) + F.linear(F.gelu(F.linear(x, self.up.to(x))), self.down.to(x))


@contextlib.contextmanager
def prompted(model: nn.Module, prompt: Float[Tensor, "length width"]) -> Iterator[None]:
    """A language model of transformers that reads ``prompt`` before the first token; its logits are those of the tokens.

    With keys and values of tokens before, the prompt is among them already.

    Raises:
        ConfigError: in the forward pass, if padding is masked: pad on the right and leave the mask out.
    """
    length = len(prompt)
    embed: Any = model.get_input_embeddings()  # type: ignore[operator]

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if kwargs.get("past_key_values") is not None or kwargs.get("cache") is not None:
            return args, kwargs
        if kwargs.get("attention_mask") is not None:
            raise ConfigError(
                "a soft prompt and a mask together are not supported: pad on the right, without a mask"
            )
        ids, x = kwargs.pop("input_ids", None), kwargs.pop("inputs_embeds", None)
        x = embed(ids) if x is None else x
        kwargs["inputs_embeds"] = torch.cat([prompt.to(x).expand(len(x), -1, -1), x], dim=1)
        return args, kwargs

    def after(_: nn.Module, __: Any, kwargs: dict[str, Any], output: Any) -> Any:
        if kwargs.get("past_key_values") is None and kwargs.get("cache") is None:
            output.logits = output.logits[:, length:]
        return output

    handles = [
        model.register_forward_pre_hook(before, with_kwargs=True),
        model.register_forward_hook(after, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _part(model: nn.Module, name: str, brick: Brick) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise ConfigError(
            f"brick '{brick.name}' changes {name}, which this model does not have; apply it to its own base"
        ) from None


def _put(model: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, part)


def combine(
    terms: Sequence[tuple[Brick, float]], merging: MergeConfig, rank: int | None = None, *, seed: int = 0
) -> Brick:
    """Several bricks as one of kind ``delta``, merged as ``merging`` says, each at ``rank``.

    The same whatever their order. Raises as :func:`brickwork.modules.merging.merge`, and

    Raises:
        ConfigError: two bases.
    """
    terms = sorted(terms, key=lambda term: (term[0].name, term[1]))
    base = max(
        (brick.base for brick, _ in terms), key=len
    )  # one that knows its tokenizer, where there is one
    if any(differences(brick.base, base) for brick, _ in terms):
        names = " and ".join(f"'{brick.name}' ({brick.base[:12]}…)" for brick, _ in terms)
        raise ConfigError(f"bricks of different bases cannot be merged: {names}; train them on one base")
    change = merge(
        [brick.change(rank) for brick, _ in terms], merging, [weight for _, weight in terms], seed=seed
    )
    name = "".join(f"{'-' if weight < 0 else '+'}{brick.name}" for brick, weight in terms).removeprefix("+")
    return Brick(name=name, kind="delta", base=base, weights=change)
