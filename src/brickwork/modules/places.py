"""Where the heads, feed-forward neurons and residual stream of a transformer stand: names for them, in any model.

A block of a transformer adds two products to its residual stream: W_O times what the heads gathered, and the output matrix
of the feed-forward half times what its neurons did. So the inputs of these two matrices hold all heads and all neurons,
and one table of where model families keep the matrices is enough to find them; no code of a model is touched.

Shape legend: B texts, T tokens, H heads of s dimensions, M neurons, D width.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError
from brickwork.modules.low_rank import LowRankLayer, is_transposed, layer_shape

Kind = Literal["heads", "ffn", "residual"]

# From a block to the matrix that ends its half, in ours and in the families of transformers.
_HEADS = (
    "attention.out",  # ours
    "attention.output.dense",  # BERT, RoBERTa, ELECTRA; before transformers 5 ViT, DINOv2
    "attention.o_proj",  # ViT, DINOv2, DINOv3
    "attention.out_lin",  # DistilBERT
    "attention.dense",  # GPT-NeoX, Pythia
    "attention.attn.o",  # MPNet
    "attn.c_proj",  # GPT-2
    "attn.out_proj",  # GPT-J
    "attn.Wo",  # ModernBERT
    "self_attn.o_proj",  # Llama, Mistral, Qwen, Gemma, Phi-3, OLMo
    "self_attn.out_proj",  # OPT, CLIP, SigLIP
    "self_attn.dense",  # Phi
    "self_attention.dense",  # BLOOM, Falcon
    "layer.0.SelfAttention.o",  # T5
)
_FFN = (
    "mlp.down",  # ours: encoders
    "feed_forward.down",  # ours: decoders
    "output.dense",  # BERT, RoBERTa, ELECTRA
    "ffn.lin2",  # DistilBERT
    "mlp.c_proj",  # GPT-2
    "mlp.down_proj",  # Llama, Mistral, Qwen, Gemma, Phi-3, OLMo
    "mlp.fc2",  # ViT, DINOv2, CLIP, SigLIP, Phi
    "mlp.fc_out",  # GPT-J
    "mlp.Wo",  # ModernBERT
    "mlp.dense_4h_to_h",  # GPT-NeoX, BLOOM, Falcon
    "fc2",  # OPT
    "layer.1.DenseReluDense.wo",  # T5
)


@dataclass(frozen=True)
class Place:
    """Something that a block does, in ``parts`` that add up.

    ``heads`` and ``ffn``: ``module`` is the matrix that ends the half, its inputs are the parts' (``size`` each: s for a
    head, 1 for a neuron). ``residual``: ``module`` is the block, and each dimension of its output is a part.
    """

    name: str
    kind: Kind
    layer: int
    module: nn.Module
    parts: int
    size: int

    def weight(self) -> Float[Tensor, "parts size width"]:
        """What the output is made with: output = Σ over parts of its input (…, s) times its rows, and the bias.

        Of a layer with an adapter, as it is set now: found by running it, since no weight of its own says it.

        Raises:
            ConfigError: a residual stream, which nothing is multiplied with.
        """
        if self.kind == "residual":
            raise ConfigError(f"{self.name} is the stream itself: its parts have no output weights")
        own: Any = self.module
        if isinstance(own, LowRankLayer):
            known = own.weight
            eye = torch.eye(self.parts * self.size, dtype=known.dtype, device=known.device)
            rows = own(eye) - own(torch.zeros_like(eye[:1]))
        else:
            rows = own.weight if is_transposed(own) else own.weight.T
        return rows.unflatten(0, (self.parts, self.size))

    def split(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows parts size"]:
        return x.unflatten(-1, (self.parts, self.size))


@dataclass(frozen=True)
class Places:
    """What stands where in one model. ``around``: the modules around its layers, from the model itself inwards."""

    named: Mapping[str, Place]
    around: Sequence[nn.Module]

    def __getitem__(self, name: str) -> Place:
        """Raises ConfigError for a name that this model does not have."""
        if name not in self.named:
            raise ConfigError(f"this model has no '{name}': {nearest(name, self.named)}")
        return self.named[name]

    def choose(self, what: str | Collection[str]) -> list[Place]:
        """The places of the kinds, or with the names, in ``what``, in the order of the model.

        Raises:
            ConfigError: a kind or name that this model does not have.
        """
        chosen: set[str] = set()
        for wanted in [what] if isinstance(what, str) else what:
            if wanted not in get_args(Kind):
                chosen.add(self[wanted].name)
                continue
            fitting = {name for name, place in self.named.items() if place.kind == wanted}
            if not fitting:
                raise ConfigError(
                    f"no layer of this model has '{wanted}' that can be told apart: its half is no plain matrix "
                    f"(a mixture?) or stands where it is not known ({sorted(self.kinds) or 'nothing'} was found)"
                )
            chosen |= fitting
        return [place for name, place in self.named.items() if name in chosen]

    @property
    def kinds(self) -> set[str]:
        return {place.kind for place in self.named.values()}


def find_places(model: nn.Module) -> Places:
    """The heads, neurons and residual stream of the one stack of layers in ``model``, by name.

    ``layers.3.heads``, ``layers.3.ffn``, ``layers.3.residual`` (what layer 3 gives), layers counted from 0. A half that is
    a mixture of modules has no name; its layer's residual stream has.

    Raises:
        ConfigError: no stack of layers that is known, several (an encoder-decoder, a dual encoder), or layers that are run
            more than once (ALBERT).
    """
    stacks = _stacks(model)
    if len(stacks) != 1:
        several = f"several stacks of layers ({', '.join(stacks)}): give the model of one of them"
        nothing = "no stack of layers whose attention or feed-forward half is known: give a transformer"
        raise ConfigError(f"{type(model).__name__} has {several if stacks else nothing}")
    ((path, layers),) = stacks.items()
    steps = path.split(".")
    around = [model.get_submodule(".".join(steps[:depth])) for depth in range(len(steps))]
    _refuse_shared(layers, around)
    width = _width(layers)
    named: dict[str, Place] = {}
    for layer, block in enumerate(layers):
        for place in _of_block(block, layer, width, around):
            named[place.name] = place
    return Places(named, around)


def _refuse_shared(layers: nn.ModuleList, around: Sequence[nn.Module]) -> None:
    """Refuses fewer modules than layers: what one of them does has no layer of its own."""
    counts = (
        getattr(getattr(module, "config", None), "num_hidden_layers", None) for module in reversed(around)
    )
    wanted = next((count for count in counts if isinstance(count, int)), len(layers))
    if wanted > len(layers):
        raise ConfigError(
            f"the model has {wanted} layers in {len(layers)} modules: it runs some of them more than once (or some were "
            "taken out), so that its layers have no names of their own"
        )


def _stacks(model: nn.Module) -> dict[str, nn.ModuleList]:
    """The outermost lists of blocks, by path."""
    stacks: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in stacks)
        if isinstance(module, nn.ModuleList) and len(module) and not inside and _is_block(module[0]):
            stacks[path] = module
    return stacks


def _is_block(module: nn.Module) -> bool:
    return any(_at(module, path) is not None for path in _HEADS + _FFN if path != "fc2")


def _at(block: nn.Module, path: str) -> nn.Module | None:
    """What stands at ``path``; nothing inside PyTorch's own attention, which reads its output matrix and never calls it."""
    module: Any = block
    for step in path.split("."):
        if isinstance(module, nn.MultiheadAttention):
            return None
        module = module._modules.get(step)
        if module is None:
            return None
    return module


def _matrix(block: nn.Module, paths: Sequence[str]) -> tuple[str, nn.Module] | None:
    """The first of ``paths`` at which a plain matrix stands."""
    for path in paths:
        module = _at(block, path)
        if isinstance(module, nn.Linear | LowRankLayer) or (module is not None and is_transposed(module)):
            return path, module
    return None


def _of_block(block: nn.Module, layer: int, width: int, around: Sequence[nn.Module]) -> Iterator[Place]:
    if (half := _matrix(block, _HEADS)) is not None:
        path, module = half
        inputs = _inputs(module)
        size = _head_size(_at(block, path.rpartition(".")[0]), block, around, path, inputs)
        yield Place(f"layers.{layer}.heads", "heads", layer, module, inputs // size, size)
    if (half := _matrix(block, _FFN)) is not None:
        yield Place(f"layers.{layer}.ffn", "ffn", layer, half[1], _inputs(half[1]), 1)
    yield Place(f"layers.{layer}.residual", "residual", layer, block, width, 1)


def _inputs(module: Any) -> int:
    return layer_shape(module.base if isinstance(module, LowRankLayer) else module)[0]


def _width(layers: nn.ModuleList) -> int:
    """The dimensions of the residual stream: those of the first vector that belongs to a norm of a layer."""
    for block in layers:
        for paths in (_HEADS, _FFN):
            if (half := _matrix(block, paths)) is not None:
                module: Any = half[1]
                return layer_shape(module.base if isinstance(module, LowRankLayer) else module)[1]
    norms = [p.shape[0] for name, p in layers[0].named_parameters() if "norm" in name and p.ndim == 1]
    if not norms:
        raise ConfigError(
            "the width of the residual stream was not found: its layers have no norm and no plain matrix"
        )
    return norms[0]


def _head_size(
    holder: nn.Module | None, block: nn.Module, around: Sequence[nn.Module], path: str, inputs: int
) -> int:
    """Dimensions of a head. Read from the attention first: heads may have been pruned, which no configuration says."""
    attention: Any = block.get_submodule(path.split(".")[0])
    for module in (holder, *attention.modules()):
        for name in ("head_dim", "attention_head_size", "head_size", "key_value_proj_dim"):
            if isinstance(size := getattr(module, name, None), int):
                return size
    for module in (holder, attention, *reversed(around)):
        described = getattr(module, "config", None)
        for source, name in ((module, "num_heads"), (module, "n_heads"), (described, "num_attention_heads")):
            if isinstance(heads := getattr(source, name, None), int) and heads and inputs % heads == 0:
                return inputs // heads
    raise ConfigError(f"the number of heads of {type(attention).__name__} was not found")
