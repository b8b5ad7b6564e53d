"""A workspace: one vector that modules write and read in turn, and who may do so when.

Two uses of the same vector. :class:`OperatorChain`: operators (plain callables, workspace → workspace) are applied one
after the other, as the gates of a recurrent controller say; the result is read from a register. :class:`DomainWorkspace`:
encoders of several domains write to it, decoders read from it, so that what one domain says can be said in another. They
meet where an encoder is an operator ("load"), and a decoder reads the register.

Shape legend: T steps, B batch, D numbers of the workspace, K operators, G = K + 1 gates (the last: output).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.types import RouterOutput

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
    # Not the routers' straight-through, an autograd function, and not F.one_hot, which looks at values: neither can be
    # mapped over stacked weights (training.many).
    hard = (logits.argmax(-1, keepdim=True) == torch.arange(logits.shape[-1], device=logits.device)).to(
        soft.dtype
    )
    return hard + (soft - soft.detach())


@dataclass(frozen=True)
class ChainRun:
    """What a chain did: the register at the end, and gates, logits and workspace after each step.

    ``halted``: the steps that each row took until its answer was complete; T without ``halt_at``.
    """

    output: Float[Tensor, "batch dim"]
    gates: Float[Tensor, "steps batch gates"]
    logits: Float[Tensor, "steps batch gates"]
    workspaces: Float[Tensor, "steps batch dim"]
    halted: Int64[Tensor, " batch"]

    def router(self) -> RouterOutput:
        """The same as a router's decision on T·B tokens: all gates chosen, with their entropy and ponder losses."""
        weights, logits = self.gates.flatten(0, 1), self.logits.flatten(0, 1)
        index = torch.arange(weights.shape[1], device=weights.device).expand(weights.shape)
        aux = {"entropy": gate_entropy(self.gates), "ponder": ponder_cost(self.gates)}
        return RouterOutput(weights, index.contiguous(), logits, aux)


class OperatorChain(nn.Module):
    """Operators on a workspace, opened and closed by a controller for T steps.

    soft, hard: (γ¹ … γᴷ, γᴼ) = softmax of the logits;  w ← Σ_k γᵏ M_k(w) + γᴼ w;  o ← γᴼ w_old + (1 − γᴼ) o.
    So the last gate means "hold and emit", the keep slot of the general form w ← (1 − Σ q_k) w + Σ q_k M_k(r_k w).
    sigmoid: independent gates in sequence, w ← (1 − gᵏ) w + gᵏ M_k(w) for each k, then o ← (1 − gᴼ) o + gᴼ w.
    ``read_gates``: each operator sees r_k w with r_k a sigmoid of the controller's; otherwise r_k = 1.

    ``operators``: plain callables by name; those that are modules are trained with the chain.
    """

    def __init__(
        self,
        operators: Mapping[str, Operator],
        controller: nn.Module,
        *,
        routing: Routing = "soft",
        read_gates: bool = False,
    ):
        super().__init__()
        if not operators:
            raise ValueError("a chain needs at least one operator")
        self.controller = controller
        self.routing = routing
        self.read_gates = read_gates
        self.operators = dict(operators)
        self.trained = _numbered(operators)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the gates: those of the operators, then ``output``."""
        return (*self.operators, "output")

    def forward(
        self,
        control: Float[Tensor, "steps batch inputs"],
        inputs: Mapping[str, Tensor],
        start: Float[Tensor, "batch dim"],
        *,
        routing: Routing | None = None,
        temperature: float = 1.0,
        halt_at: float | None = None,
        operators: Mapping[str, Operator] | None = None,
        freeze_controller: bool = False,
    ) -> ChainRun:
        """Runs as many steps as ``control`` has, from the workspace ``start`` and an empty register.

        ``routing``: another than that of training, for example ``hard`` to see whether the answer needs soft gates.
        ``operators``: others under the same gates, which says nothing of their width; with ``freeze_controller`` only they
        get gradients.
        ``halt_at``: a row stops when it has emitted that much, 1 − Π(1 − γᴼ).
        """
        routing = routing or self.routing
        modules = list((operators or self.operators).values())
        w, o, state = start, torch.zeros_like(start), None
        left = start.new_ones(len(start))  # what has not been emitted yet
        going = torch.ones_like(left, dtype=torch.bool)
        steps = torch.zeros_like(going, dtype=torch.int64)
        gates, logits, workspaces = [], [], []
        for u in control:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not freeze_controller):
                all_logits, state = self.controller(u, state)
            g_logits, read = self._split(all_logits)
            g = gate(g_logits, routing, temperature)
            new_w, new_o = _step(w, o, g, read, inputs, modules, routing == "sigmoid")
            if halt_at is not None:
                new_w, new_o = (
                    torch.where(going[:, None], new, old) for new, old in ((new_w, w), (new_o, o))
                )
            steps = steps + going
            left = left * (1 - g[:, -1])
            if halt_at is not None:
                going = going & (1 - left < halt_at)
            w, o = new_w, new_o
            gates.append(g)
            logits.append(g_logits)
            workspaces.append(w)
        return ChainRun(o, torch.stack(gates), torch.stack(logits), torch.stack(workspaces), steps)

    def _split(self, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        count = len(self.operators) + 1
        return logits[:, :count], logits[:, count:].sigmoid() if self.read_gates else None


def _step(
    w: Tensor,
    o: Tensor,
    g: Tensor,
    read: Tensor | None,
    inputs: Mapping[str, Tensor],
    operators: Sequence[Operator],
    in_sequence: bool,
) -> tuple[Tensor, Tensor]:
    """Workspace and register after one step; the equations are those of :class:`OperatorChain`."""

    def applied(k: int, operator: Operator, to: Tensor) -> Tensor:
        return operator(to if read is None else read[:, k, None] * to, inputs)

    emit = g[:, -1, None]
    if in_sequence:
        for k, operator in enumerate(operators):
            w = (1 - g[:, k, None]) * w + g[:, k, None] * applied(k, operator, w)
        return w, (1 - emit) * o + emit * w
    new = emit * w
    for k, operator in enumerate(operators):
        new = new + g[:, k, None] * applied(k, operator, w)
    return new, emit * w + (1 - emit) * o


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


def perceptron(num_inputs: int, hidden: int, num_outputs: int, num_hidden: int) -> nn.Sequential:
    """(Linear, ReLU) × ``num_hidden``, Linear."""
    parts: list[nn.Module] = []
    for _ in range(num_hidden):
        parts += [nn.Linear(num_inputs, hidden), nn.ReLU()]
        num_inputs = hidden
    return nn.Sequential(*parts, nn.Linear(num_inputs, num_outputs))


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
        self.trained_encoders = _numbered(encoders)
        self.trained_decoders = _numbered(decoders)

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
        """d_j(w) for the asked domains (default: all)."""
        return {name: self.decoders[name](w) for name in (self.domains if domains is None else domains)}

    def translate(self, x: Mapping[str, Tensor], to: str) -> Tensor:
        """What the given domains together say, in the domain ``to``."""
        return self.decode(self.fuse(self.encode(x)), [to])[to]


def _numbered(functions: Mapping[str, Any]) -> nn.ModuleDict:
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
