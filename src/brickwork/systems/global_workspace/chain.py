"""The chain that adds: Input, Increment and Output on a workspace, and what its gates did."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.types import Batch, LossOutput, Trace
from brickwork.data.types import Examples
from brickwork.systems.global_workspace.arithmetic import NUM_VALUES
from brickwork.systems.global_workspace.modules import (
    Cell,
    ChainRun,
    GateController,
    OperatorChain,
    Routing,
    control_code,
    num_gates,
    perceptron,
)
from brickwork.systems.global_workspace.sums import DigitReader, SumsSystem, one_hot, split_accuracy

_CONTROLLER_RATE = 10 / 3  # of the first phase, relative to the learned modules (1e-2 to 3e-3)
_LAST_TEMPERATURE, _ANNEAL_STEPS = 0.3, 400  # of hard routing: from 1, evenly
MODULES = ("input", "increment", "output")


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
        self.network = perceptron(width, hidden, width, num_hidden=1)

    def forward(
        self, workspace: Float[Tensor, "batch dim"], inputs: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch dim"]:
        """The next value; ``inputs`` are not looked at."""
        return torch.tanh(self.network(workspace))


class AdditionSystem(SumsSystem):
    """a + b as: load a, increment b times, output. Without ``reader``, hand-designed modules on one-hot numbers; with
    it, learned modules on images whose encoder is trained first and then frozen.
    """

    def __init__(
        self,
        *,
        num_sums: int,
        modulo: int,
        image_shape: Sequence[int] | None,
        num_steps: int,
        hidden: int,
        cell: Cell,
        code: str,
        routing: Routing,
        read_gates: bool,
        entropy_weight: float,
        ponder_weight: float,
        reader: Mapping[str, Any] | None,
        controller_steps: int,
        increment_hidden: int,
    ):
        super().__init__(num_sums=num_sums, modulo=modulo, image_shape=image_shape)
        self.code = code
        self.num_steps = num_steps
        self.weights = {"entropy": entropy_weight, "ponder": ponder_weight}
        self.two_phase = controller_steps > 0
        self.by_hand = {"input": load, "increment": turn if modulo else shift}
        self.reader: DigitReader | None = None
        increment: Any = self.by_hand["increment"]
        if reader is not None and image_shape is not None:
            self.reader = DigitReader.of(reader, image_shape)
            increment = LearnedIncrement(reader["width"], increment_hidden)
            self.readout = nn.Linear(reader["width"], num_sums)
        num_inputs = control_code(code, NUM_VALUES, 1).shape[2]  # type: ignore[arg-type]
        controller = GateController(num_inputs, num_gates(2, read_gates), hidden=hidden, cell=cell)
        operators = {"input": load, "increment": increment}
        self.chain = OperatorChain(operators, controller, routing=routing, read_gates=read_gates)
        # The steps of a run at which the controller and the learned modules begin.
        self.first_controller = reader["steps"] if reader is not None else 0
        self.first_learned = self.first_controller + controller_steps

    # ---- forward ------------------------------------------------------------------------------------------------

    def run(
        self, batch: Batch, *, by_hand: bool = False, num_steps: int | None = None, **options: Any
    ) -> ChainRun:
        """The chain on a batch. ``by_hand``: hand-designed modules on the true digits, also where there are images."""
        if self.reader is None or by_hand:
            first = one_hot(batch["a"], self.num_sums)
            second = one_hot(batch["b"], NUM_VALUES)
        else:
            with torch.no_grad():  # frozen
                first = self.reader.body(batch["first"])
                second = self.reader.head(self.reader.body(batch["second"])).softmax(-1)
        code = control_code(self.code, NUM_VALUES, num_steps or self.num_steps).to(second)  # type: ignore[arg-type]
        control = torch.einsum("bv,tvm->tbm", second, code)  # u_t
        operators = self.by_hand if by_hand else None
        return self.chain(control, {"first": first}, torch.zeros_like(first), operators=operators, **options)

    def scores(self, batch: Batch, **options: Any) -> Float[Tensor, "batch sums"]:
        """The register (numbers) or its readout (images)."""
        output = self.run(batch, **options).output
        return output if self.reader is None else self.readout(output)

    # ---- loss ---------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> LossOutput:
        """The end task alone (3.4); of images, after the encoder's classes, and in two phases if so chosen (3.5)."""
        step = batch["step"]
        if self.reader is None:
            return self._hand_loss(batch, step)
        if step < self.first_controller:
            return LossOutput.of({"reader": self.reader.loss(batch)})
        if step < self.first_learned:
            return self._hand_loss(batch, step - self.first_controller)
        run = self.run(
            batch,
            freeze_controller=self.two_phase,
            temperature=self._temperature(step - self.first_controller),
        )
        answer = F.cross_entropy(self.readout(run.output), batch["sum"])
        return self._with_costs(answer, run)

    def _hand_loss(self, batch: Batch, step: int) -> LossOutput:
        """L = −log(o_T[a + b] + 1e-8)."""
        run = self.run(batch, by_hand=True, temperature=self._temperature(step))
        probability = (run.output * one_hot(batch["sum"], self.num_sums)).sum(1)
        return self._with_costs(-(probability + 1e-8).log().mean(), run)

    def _with_costs(self, answer: Tensor, run: ChainRun) -> LossOutput:
        aux = run.router().aux
        extra = {name: aux[name] for name, weight in self.weights.items() if weight}
        return LossOutput.of({"answer": answer, **extra}, {name: self.weights[name] for name in extra})

    def _temperature(self, step: int) -> float:
        if self.chain.routing != "hard":
            return 1.0
        share = min(1.0, step / _ANNEAL_STEPS) if self.training else 1.0
        return 1.0 + share * (_LAST_TEMPERATURE - 1.0)

    def after_step(self, step: int) -> None:
        """When the encoder is done, the readout starts from its classes (modulo 10: they are the same ten)."""
        if self.reader is not None and step + 1 == self.first_controller and self.num_sums == NUM_VALUES:
            self.readout.load_state_dict(self.reader.head.state_dict())

    def param_groups(self, learning_rate: float, weight_decay: float) -> Iterator[dict[str, Any]]:
        """In two phases, the controller learns faster than the modules; matrices decay."""
        fast = self.reader is not None and self.two_phase
        for factor, wanted in ((_CONTROLLER_RATE if fast else 1.0, True), (1.0, False)):
            own = [p for n, p in self.named_parameters() if n.startswith("chain.controller") == wanted]
            for matrices in (True, False):
                chosen = [p for p in own if (p.ndim >= 2) == matrices]
                if chosen:
                    decay = weight_decay if matrices else 0.0
                    yield {"params": chosen, "weight_decay": decay, "lr": factor * learning_rate}

    # ---- what it did --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _gates(self, columns: Mapping[str, Any]) -> Float[np.ndarray, "steps rows gates"]:
        device = next(self.parameters()).device
        batch = {name: v.to(device) for name, v in self.collate(columns).items()}
        return self.run(batch).gates.float().cpu().numpy()

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """As :meth:`SumsSystem.evaluate`; and with arg-max gates, and how many routes are Input, b × Increment, Output."""
        found = super().evaluate(examples)
        truth = np.asarray(examples.columns["sum"])
        hard = self.answers(examples.columns, routing="hard").argmax(1) == truth
        routes = self._gates(self._inputs(examples.columns)).argmax(2).T
        exact = np.array(
            [is_exact(route, int(b)) for route, b in zip(routes, np.asarray(examples.columns["b"]))]
        )
        found |= {f"arg-max gates, {n}": v for n, v in split_accuracy(hard, examples.columns).items()}
        return found | {
            n.replace("accuracy", "exact route"): v
            for n, v in split_accuracy(exact, examples.columns).items()
        }

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """``sum``, its ``confidence`` and the ``route``: the most open gate of each step, I, C (increment) or O."""
        inputs = self._inputs(columns)
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
        gates = self._gates(self._inputs(examples.columns))
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


def is_exact(route: np.ndarray, b: int) -> bool:
    """Whether the most open gates are Input, then b times Increment, then Output at the end; idle steps are free.

    Holding is Output, so Outputs between may stand anywhere; loading again before the first Increment is idle too.
    """
    work = [int(k) for k in route if k != 2]
    loads = len(work) - b
    return bool(route[-1] == 2) and loads >= 1 and work == [0] * loads + [1] * b
