"""The parts of a global workspace: controller and gates, operators, the reader of digits; domains around one vector.

A workspace is one vector that modules write and read in turn. ``OperatorChain`` in ``system.py`` applies operators (plain
callables, workspace → workspace) by the gates of a recurrent controller. :class:`DomainWorkspace`: encoders of several
domains write to it, decoders read from it, so that one domain can be translated to another.

Shape legend: B batch, D dimensions of the workspace, G gates (the last: output).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.types import Batch
from brickwork.modules.mlp import mlp
from brickwork.systems.global_workspace.data import NUM_VALUES

Operator = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""``operator(workspace, inputs)``: the new workspace, (B, D), from the old one and what the outside offers."""

Routing = Literal["soft", "sigmoid", "hard"]
Cell = Literal["lstm", "gru"]


class GateController(nn.Module):
    """A recurrent cell that reads the control input of a step and gives the logits of the gates."""

    def __init__(self, num_inputs: int, num_gates: int, *, hidden: int = 32, cell: Cell = "lstm"):
        super().__init__()
        self.cell: nn.Module = (nn.LSTMCell if cell == "lstm" else nn.GRUCell)(num_inputs, hidden)
        self.gates = nn.Linear(hidden, num_gates)

    def forward(self, control: Float[Tensor, "batch inputs"], state: Any) -> tuple[Tensor, Any]:
        """(logits (B, gates), state); a ``state`` of ``None`` starts from zeros."""
        state = self.cell(control, state)
        hidden = state[0] if isinstance(state, tuple) else state
        return self.gates(hidden), state


def gate(
    logits: Float[Tensor, "batch gates"], routing: Routing, temperature: float = 1.0
) -> Float[Tensor, "batch gates"]:
    """Gates from logits: soft-max, independent sigmoids, or the arg-max with the gradient of the soft-max.

    ``temperature`` is of the soft-max that ``hard`` takes its gradient from; the others do not have one.
    """
    if routing == "sigmoid":
        return logits.sigmoid()
    if routing == "soft":
        return logits.softmax(-1)
    soft = (logits / temperature).softmax(-1)
    hard = F.one_hot(logits.argmax(-1), logits.shape[-1]).to(soft.dtype)
    return hard + (soft - soft.detach())


def num_gates(num_operators: int, read_gates: bool) -> int:
    """How many logits the controller of a chain gives: one an operator, the output, and the read gates."""
    return num_operators + 1 + (num_operators if read_gates else 0)


def gate_entropy(gates: Float[Tensor, "steps batch gates"]) -> Float[Tensor, ""]:
    """Mean entropy of the gates in nats: 0 where every step uses one module. For gates that are shares."""
    return -(gates * (gates + 1e-9).log()).sum(-1).mean()


def ponder_cost(gates: Float[Tensor, "steps batch gates"]) -> Float[Tensor, ""]:
    """Mean number of steps that end before the answer is out: Σ_t Π_{s ≤ t} (1 − γᴼ_s)  (after Graves 2016)."""
    return (1 - gates[..., -1]).cumprod(0).sum(0).mean()


def control_code(
    kind: Literal["onehot", "onehot0", "thermo", "serial"], num_values: int, num_steps: int
) -> Float[Tensor, "steps values inputs"]:
    """What the controller sees at each step for each value v of 0 … V − 1.

    onehot: v, at every step. onehot0: v, at the first step only. thermo: v ones of V − 1, at every step. serial: 1
    while t < v, else 0. Linear in a distribution over values, so that probabilities can be coded in the same way.
    """
    values = torch.arange(num_values)
    if kind == "serial":
        return (torch.arange(num_steps)[:, None] < values[None]).float()[..., None]
    if kind == "thermo":
        return (torch.arange(num_values - 1)[None] < values[:, None]).float().repeat(num_steps, 1, 1)
    code = torch.eye(num_values).repeat(num_steps, 1, 1)
    if kind == "onehot0":
        code[1:] = 0
    return code


# ---- operators, and the reader of images -------------------------------------------------------------------------


def load(workspace: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
    """Input: the workspace becomes what the first addend is written as."""
    return inputs["first"]


def shift(
    workspace: Float[Tensor, "batch slots"], inputs: Mapping[str, Tensor]
) -> Float[Tensor, "batch slots"]:
    """Hand-designed Increment that saturates: S w, each slot to the next, the last keeps what it has."""
    moved = workspace.roll(1, -1)
    return torch.cat(
        [moved[:, 1:-1].new_zeros(len(moved), 1), moved[:, 1:-1], moved[:, -1:] + workspace[:, -1:]], 1
    )


def turn(
    workspace: Float[Tensor, "batch slots"], inputs: Mapping[str, Tensor]
) -> Float[Tensor, "batch slots"]:
    """Hand-designed Increment modulo the number of slots."""
    return workspace.roll(1, -1)


class LearnedIncrement(nn.Module):
    """Inc(w) = tanh(W₂ relu(W₁ w + b₁) + b₂)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.network = mlp([width, hidden, width])

    def forward(
        self, workspace: Float[Tensor, "batch dim"], inputs: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch dim"]:
        """The next value; ``inputs`` are not looked at."""
        return torch.tanh(self.network(workspace))


class DigitReader(nn.Module):
    """The pixels of one digit to a bounded latent and its classes: classes = W tanh(body(x)).

    ``network``: see :class:`~brickwork.systems.global_workspace.config.ReaderConfig`.
    """

    def __init__(self, image_shape: Sequence[int], *, network: str, hidden: int, width: int):
        super().__init__()
        layers = conv_layers if network == "conv" else mlp_layers
        self.body = nn.Sequential(*layers(image_shape, hidden, width), nn.Tanh())
        self.head = nn.Linear(width, NUM_VALUES)

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy of the digits on both images."""
        logits = self.head(self.body(torch.cat([batch["first"], batch["second"]])))
        return F.cross_entropy(logits, torch.cat([batch["a"], batch["b"]]))


def mlp_layers(image_shape: Sequence[int], hidden: int, width: int) -> nn.Sequential:
    """Flat pixels through two hidden layers."""
    return mlp([math.prod(image_shape), hidden, hidden, width])


def conv_layers(image_shape: Sequence[int], hidden: int, width: int) -> list[nn.Module]:
    """Flat pixels (height, width, channels) through two convolutions with stride 2.

    Not the residual image encoder of :mod:`brickwork.encoders`: its normalisation and pooling take five times as long for
    fewer right digits in the few hundred steps that there are here.
    """
    height, breadth, channels = image_shape
    size = ((height + 3) // 4) * ((breadth + 3) // 4)
    return [
        nn.Unflatten(1, (height, breadth, channels)),
        ChannelsFirst(),
        nn.Conv2d(channels, hidden, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(hidden, 2 * hidden, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * hidden * size, width),
    ]


class ChannelsFirst(nn.Module):
    """(B, H, W, C) → (B, C, H, W)."""

    def forward(self, images: Float[Tensor, "batch h w c"]) -> Float[Tensor, "batch c h w"]:
        """The same values, in the order that convolutions take."""
        return images.movedim(-1, 1)


# ---- domains -----------------------------------------------------------------------------------------------------


class DomainWorkspace(nn.Module):
    """Encoders of several domains into one vector and decoders out of it: w = tanh(Σ_i α_i e_i(x_i)), x̂_j = d_j(w).

    ``encoders`` and ``decoders``: plain callables by domain; those that are modules are trained.
    """

    def __init__(
        self,
        encoders: Mapping[str, Callable[[Tensor], Tensor]],
        decoders: Mapping[str, Callable[[Tensor], Tensor]],
        fusion: Callable[[Tensor], Tensor] = torch.tanh,
    ):
        super().__init__()
        if list(encoders) != list(decoders):
            raise ValueError(f"encoders of {list(encoders)}, but decoders of {list(decoders)}")
        self.encoders, self.decoders = dict(encoders), dict(decoders)
        self.fusion = fusion
        # Numbered, because a name of the user's may be none that a module can have.
        self.trained_encoders = numbered_modules(encoders)
        self.trained_decoders = numbered_modules(decoders)

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the domains, in order."""
        return tuple(self.encoders)

    def encode(self, x: Mapping[str, Tensor]) -> dict[str, Float[Tensor, "batch dim"]]:
        """e_i(x_i) for each domain given, before they are fused."""
        return {name: self.encoders[name](values) for name, values in x.items()}

    def fuse(
        self, z: Mapping[str, Tensor], weights: Mapping[str, Float[Tensor, " batch"]] | None = None
    ) -> Float[Tensor, "batch dim"]:
        """The workspace. ``weights``: α of each domain and row, summing to 1 over domains; equal by default."""
        share = 1 / len(z)
        parts = [
            (share if weights is None else weights[name][:, None]) * values for name, values in z.items()
        ]
        return self.fusion(torch.stack(parts).sum(0))

    def decode(
        self, w: Float[Tensor, "batch dim"], domains: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """d_j(w) for ``domains`` (default: all)."""
        return {name: self.decoders[name](w) for name in (self.domains if domains is None else domains)}

    def translate(self, x: Mapping[str, Tensor], to: str) -> Tensor:
        """What the given domains together say, in the domain ``to``."""
        return self.decode(self.fuse(self.encode(x)), [to])[to]


def numbered_modules(functions: Mapping[str, Any]) -> nn.ModuleDict:
    """Those of ``functions`` that are modules, by their place: names of the user's may be none that a module can have."""
    return nn.ModuleDict({str(i): f for i, f in enumerate(functions.values()) if isinstance(f, nn.Module)})


def random_weights(
    present: Mapping[str, Tensor], generator: torch.Generator | None = None, temperature: float = 1.0
) -> dict[str, Float[Tensor, " batch"]]:
    """α drawn for each row over the domains that are there: soft-max of uniform noise over ``temperature``.

    ``present``: booleans (B,) by domain. A row without any gets zeros.
    """
    names = list(present)
    there = torch.stack([present[n] for n in names])
    noise = torch.rand(there.shape, generator=generator).to(there.device) / temperature
    return dict(zip(names, _shares(noise.exp() * there)))


def single_weights(
    present: Mapping[str, Tensor], generator: torch.Generator | None = None
) -> dict[str, Float[Tensor, " batch"]]:
    """α is 1 for one domain of each row, drawn evenly from those that are there; a row without any gets zeros."""
    there = torch.stack(list(present.values()))
    drawn = torch.rand(there.shape, generator=generator).to(there.device).where(there, -1.0)
    best = drawn.argmax(0, keepdim=True)
    return dict(zip(present, torch.zeros_like(drawn).scatter_(0, best, 1.0) * there))


class QueryAttention(nn.Module):
    """α by what the domains say: softmax_i of k_i · q, with keys k_i = K_i z_i and a query q = Q w of the fused state.

    The first query comes from ``start``, a fixed random state; then, ``num_steps`` times, the domains are fused with the
    weights found (w = Σ α_i z_i) and the query is taken from that. After shimmer's ``DynamicQueryAttention``. z_i is
    the encoding before fusion, (B, D).
    """

    start: Tensor

    def __init__(self, domains: Sequence[str], dim: int, *, head: int = 16, num_steps: int = 1):
        super().__init__()
        if num_steps < 0:
            raise ValueError(f"num_steps={num_steps} must not be negative")
        self.places = {name: place for place, name in enumerate(domains)}
        self.num_steps = num_steps
        self.query = nn.Linear(dim, head)
        # In a list, because a name of the user's may be none that a module can have.
        self.keys = nn.ModuleList(nn.Linear(dim, head) for _ in domains)
        self.register_buffer("start", torch.rand(dim))

    def forward(
        self, z: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None
    ) -> dict[str, Float[Tensor, " batch"]]:
        """α by domain. What a row lacks (``present``, booleans (B,)) gets none; a row without any domain gets zeros."""
        keys = torch.stack([self.keys[self.places[name]](values) for name, values in z.items()])
        values = torch.stack(list(z.values()))
        there = None if present is None else torch.stack([present[name] for name in z])
        state = self.start.expand(values.shape[1:])
        for turn in range(self.num_steps + 1):
            score = (keys * self.query(state)).sum(-1)
            if there is not None:
                score = score.masked_fill(~there, torch.finfo(score.dtype).min)
            share = score.softmax(0) if there is None else score.softmax(0) * there
            if turn < self.num_steps:
                state = (share[..., None] * values).sum(0)
        return dict(zip(z, share))


def equal_weights(present: Mapping[str, Tensor]) -> dict[str, Float[Tensor, " batch"]]:
    """The same α for every domain that is there; a row without any gets zeros."""
    return dict(zip(present, _shares(torch.stack(list(present.values())).float())))


def _shares(amounts: Float[Tensor, "domains batch"]) -> Float[Tensor, "domains batch"]:
    return amounts / amounts.sum(0).clamp(min=1e-9)
