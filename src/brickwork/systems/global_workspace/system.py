"""A global workspace, after Chateau-Laurent, VanRullen: Learning to Chain Operations by Routing Information Through a Global
Workspace. arXiv 2503.01906.

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
| I     | ``load``                 |           | Input: one-hot(a), or the frozen encoder's latent of image a |
| Inc   | ``shift``, ``turn``, ``LearnedIncrement`` | | hand-designed (S w), or learned               |

    γ_t = softmax(W h_t), h_t = LSTM(u_t, h_{t−1})                                     (eq. 1)
    w_t = γᴵ I(a) + γᶜ Inc(w_{t−1}) + γᴼ w_{t−1}                                       (eq. 2)
    o_t = γᴼ w_{t−1} + (1 − γᴼ) o_{t−1},  w_0 = o_0 = 0                                (eq. 3)
    L   = −log(o_T[a + b] + 1e-8), or the cross-entropy of a readout of o_T            (eq. 4)

With images the modules are learned, in stages: ``reader`` (the encoder and its classes), ``controller`` (eq. 4 with the
modules by hand) and ``modules`` (eq. 4 with the learned ones), or ``reader`` and ``joint``.

The same vector aligns domains: ``align.py``, after Devillers, Maytié, VanRullen, arXiv 2306.15711.

Differences from the paper: see README.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from brickwork.core.config import from_dict
from brickwork.core.types import Batch, LossOutput, RouterOutput, Trace
from brickwork.data.types import Examples, TaskData
from brickwork.representation.contract import complete
from brickwork.systems.global_workspace.align import Alignment
from brickwork.systems.global_workspace.arithmetic import addition_task
from brickwork.systems.global_workspace.config import AlignConfig, ChainConfig, GlobalWorkspaceConfig
from brickwork.systems.global_workspace.data import NUM_VALUES, Data
from brickwork.systems.global_workspace.domains import domain_task
from brickwork.systems.global_workspace.modules import (
    DigitReader,
    GateController,
    LearnedIncrement,
    Operator,
    Routing,
    control_code,
    gate,
    gate_entropy,
    load,
    num_gates,
    numbered_modules,
    ponder_cost,
    shift,
    turn,
)
from brickwork.systems.global_workspace.sums import (
    collate_sums,
    inputs_of,
    is_exact,
    scores_of_rows,
    split_accuracy,
    sum_facts,
)

Config = GlobalWorkspaceConfig
_LAST_TEMPERATURE, _ANNEAL_STEPS = 0.3, 400  # of hard routing: from 1, evenly
MODULES = ("input", "increment", "output")


def load_data(config: Data, seed: int) -> TaskData:
    """Sums of digits (``addition``), or vectors of domains.

    Raises:
        DataError: the source cannot be read.
    """
    return addition_task(config, seed) if config.source == "addition" else domain_task(config, seed)


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
        self.trained = numbered_modules(operators)

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
    ) -> ChainRun:
        """Runs as many steps as ``control`` has, from the workspace ``start`` and an empty register.

        ``routing``: another than that of training, for example ``hard`` to see whether the answer needs soft gates.
        ``operators``: others under the same gates, which says nothing of their width.
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
            all_logits, state = self.controller(u, state)
            g_logits, read = self._split(all_logits)
            g = gate(g_logits, routing, temperature)  # eq. 1
            new_w, new_o = _step(w, o, g, read, inputs, modules, routing == "sigmoid")  # eq. 2, eq. 3
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
    """Workspace (eq. 2) and register (eq. 3) after one step."""

    def applied(k: int, operator: Operator, to: Tensor) -> Tensor:
        return operator(to if read is None else read[:, k, None] * to, inputs)

    emit = g[:, -1, None]
    if in_sequence:
        for k, operator in enumerate(operators):
            w = (1 - g[:, k, None]) * w + g[:, k, None] * applied(k, operator, w)
        return w, (1 - emit) * o + emit * w
    new = emit * w
    for k, operator in enumerate(operators):
        new = new + g[:, k, None] * applied(k, operator, w)  # eq. 2
    return new, emit * w + (1 - emit) * o  # eq. 3


@complete
class System(nn.Module):
    """a + b as: load a, increment b times, output. Of numbers the modules are designed by hand; of images
    (``image_shape``: height, width, channels) they are learned, on an encoder that is trained first.
    """

    reads = ("sums", "domains")
    input_kind = "columns"

    def __init__(
        self,
        config: GlobalWorkspaceConfig,
        *,
        num_sums: int,
        modulo: int,
        image_shape: Sequence[int] | None,
    ):
        super().__init__()
        task = config.task
        assert isinstance(task, ChainConfig)
        self.config = config
        self.facts = {"num_sums": num_sums, "modulo": modulo, "image_shape": image_shape}
        self.num_sums = num_sums
        self.code, self.num_steps = task.code, task.num_steps
        self.image_shape = None if image_shape is None else tuple(image_shape)
        self.weights = {"entropy": task.entropy_weight, "ponder": task.ponder_weight}
        self.by_hand = {"input": load, "increment": turn if modulo else shift}
        self.reader: DigitReader | None = None
        increment: Any = self.by_hand["increment"]
        if task.reader is not None and image_shape is not None:
            width = task.reader.width
            self.reader = DigitReader(image_shape, **vars(task.reader))
            increment = LearnedIncrement(width, task.increment_hidden or 64)
            self.readout = nn.Linear(width, num_sums)
        num_inputs = control_code(task.code, NUM_VALUES, 1).shape[2]
        controller = GateController(
            num_inputs, num_gates(2, task.read_gates), hidden=task.hidden, cell=task.cell
        )
        operators = {"input": load, "increment": increment}
        self.chain = OperatorChain(operators, controller, routing=task.routing, read_gates=task.read_gates)

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Columns as tensors: see :func:`brickwork.systems.global_workspace.sums.collate_sums`."""
        return collate_sums(columns, self.image_shape)

    # ---- forward ------------------------------------------------------------------------------------------------

    def run(
        self, batch: Batch, *, by_hand: bool = False, num_steps: int | None = None, **options: Any
    ) -> ChainRun:
        """The chain on a batch. ``by_hand``: hand-designed modules on the true digits, also where there are images."""
        if self.reader is None or by_hand:
            first = F.one_hot(batch["a"], self.num_sums).float()
            second = F.one_hot(batch["b"], NUM_VALUES).float()
        else:
            with torch.no_grad():  # the reader learns from its own loss only
                first = self.reader.body(batch["first"])
                second = self.reader.head(self.reader.body(batch["second"])).softmax(-1)
        code = control_code(self.code, NUM_VALUES, num_steps or self.num_steps).to(second)
        control = torch.einsum("bv,tvm->tbm", second, code)  # u_t
        operators = self.by_hand if by_hand else None
        return self.chain(control, {"first": first}, torch.zeros_like(first), operators=operators, **options)

    def scores(self, batch: Batch, **options: Any) -> Float[Tensor, "batch sums"]:
        """The register (numbers) or its readout (images)."""
        output = self.run(batch, **options).output
        return output if self.reader is None else self.readout(output)

    # ---- loss ---------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> LossOutput:
        """L (eq. 4) of the stage that the batch is in; without stages, the reader learns along with the rest."""
        stage, temperature = batch.get("stage"), self._temperature(batch)
        if self.reader is not None and stage == "reader":
            return LossOutput.of({"reader": self.reader.loss(batch)})
        if self.reader is None or stage == "controller":
            run = self.run(batch, by_hand=True, temperature=temperature)
            probability = (run.output * F.one_hot(batch["sum"], self.num_sums).float()).sum(1)
            terms = {"answer": -(probability + 1e-8).log().mean()}  # eq. 4, numbers
        else:
            run = self.run(batch, temperature=temperature)
            terms = {"answer": F.cross_entropy(self.readout(run.output), batch["sum"])}  # eq. 4, images
            if stage is None:
                terms["reader"] = self.reader.loss(batch)
        aux = run.router().aux
        costs = {name: aux[name] for name, weight in self.weights.items() if weight}
        return LossOutput.of({**terms, **costs}, {name: self.weights[name] for name in costs})

    def _temperature(self, batch: Batch) -> float:
        """Of hard routing: it falls while the controller learns, and stays low for the modules that come after it."""
        if self.chain.routing != "hard":
            return 1.0
        step = int(batch["stage_step"] if "stage_step" in batch else batch["step"])
        share = min(1.0, step / _ANNEAL_STEPS) if self.training and batch.get("stage") != "modules" else 1.0
        return 1.0 + share * (_LAST_TEMPERATURE - 1.0)

    def start_stage(self, stage: str) -> None:
        """When the reader is done, the readout starts from its classes (modulo 10: they are the same ten)."""
        if self.reader is not None and stage != "reader":
            self.readout.load_state_dict(self.reader.head.state_dict())

    # ---- what it did --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _gates(self, columns: Mapping[str, Any]) -> Float[np.ndarray, "steps rows gates"]:
        device = next(self.parameters()).device
        batch = {name: v.to(device) for name, v in self.collate(columns).items()}
        return self.run(batch).gates.float().cpu().numpy()

    def answers(self, columns: Mapping[str, Any], **options: Any) -> Float[np.ndarray, "rows sums"]:
        """:meth:`scores` of many rows."""
        return scores_of_rows(self, columns, **options)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Accuracy on pairs that training showed, on those it did not, and on these by whether their sum was ever shown; the
        same with arg-max gates; and how many routes are Input, b × Increment, Output. A part without rows has no number.
        """
        columns = examples.columns
        truth, second = np.asarray(columns["sum"]), np.asarray(columns["b"])
        right = self.answers(columns).argmax(1) == truth
        hard = self.answers(columns, routing="hard").argmax(1) == truth
        routes = self._gates(inputs_of(columns, self.image_shape)).argmax(2).T
        exact = np.array([is_exact(route, int(b)) for route, b in zip(routes, second)])
        return {
            **split_accuracy(right, columns, "accuracy"),
            **split_accuracy(hard, columns, "arg-max gates, accuracy"),
            **split_accuracy(exact, columns, "exact route"),
        }

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """``sum``, its ``confidence`` and the ``route``: the most open gate of each step, I, C (increment) or O."""
        inputs = inputs_of(columns, self.image_shape)
        scores = torch.from_numpy(self.answers(inputs))
        confidence = scores if self.reader is None else scores.softmax(1)
        routes = self._gates(inputs).argmax(2).T if len(scores) else np.zeros((0, 0), np.int64)
        return {
            "sum": scores.argmax(1).numpy(),
            "confidence": confidence.max(1).values.numpy() if len(scores) else np.zeros(0, np.float32),
            "route": [" ".join("ICO"[k] for k in route) for route in routes],
        }

    def trace(self, examples: Examples) -> list[Trace]:
        """The gates of all rows, and over time for each second addend."""
        gates = self._gates(inputs_of(examples.columns, self.image_shape))
        unit = "gate" if self.chain.routing == "sigmoid" else "share"
        second = np.asarray(examples.columns["b"])
        domain = tuple(f"b = {b}" for b in second)
        traces = [Trace(name="gates", modules=MODULES, usage=gates.mean(0), domain=domain, unit=unit)]
        for b in np.unique(second):
            rows = gates[:, second == b]
            traces.append(
                Trace(name=f"adding {b}", modules=MODULES, usage=rows.mean(0), time=rows.mean(1), unit=unit)
            )
        return traces

    # ---- made from data, or from what was kept ------------------------------------------------------------------

    @staticmethod
    def build(
        config: GlobalWorkspaceConfig, data: TaskData, assets: Path | None, seed: int
    ) -> "System | Alignment":
        """The untrained system for ``data``: a chain for sums, an alignment for domains.

        Raises:
            DataError: the data is of another kind than the task.
            ConfigError: a reader for numbers, or none for images.
        """
        if isinstance(config.task, AlignConfig):
            return Alignment.build(config.task, data, seed)
        return System(config, **sum_facts(config.task, data))

    @staticmethod
    def restore(architecture: Mapping[str, Any], tokenizer_json: str | None) -> "System | Alignment":
        """The system that :meth:`architecture` described, with fresh weights."""
        config, facts = from_dict(GlobalWorkspaceConfig, architecture["config"]), architecture["facts"]
        if isinstance(config.task, AlignConfig):
            return Alignment(config.task, seed=0, **facts)
        return System(config, **facts)
