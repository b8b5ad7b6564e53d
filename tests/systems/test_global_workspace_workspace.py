"""The workspace against loops written out in NumPy, and what its gates, codes and shares must be."""

import numpy as np
import pytest
import torch
from torch import nn

from brickwork.systems.global_workspace.modules import (
    DomainWorkspace,
    GateController,
    QueryAttention,
    control_code,
    equal_weights,
    gate,
    gate_entropy,
    num_gates,
    ponder_cost,
    random_weights,
    single_weights,
)
from brickwork.systems.global_workspace.system import OperatorChain

STEPS, ROWS, SLOTS = 5, 3, 7


def load(w, inputs):
    return inputs["first"]


def shift(w, inputs):
    return torch.cat([torch.zeros_like(w[:, :1]), w[:, :-1]], 1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_by_hand(cell, x, h, c):
    """The gates of torch's LSTM cell in their order: input, forget, cell, output."""
    weights = {name: p.detach().numpy() for name, p in cell.named_parameters()}
    z = x @ weights["weight_ih"].T + weights["bias_ih"] + h @ weights["weight_hh"].T + weights["bias_hh"]
    i, f, g, o = np.split(z, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def made(routing="soft", read_gates=False):
    torch.manual_seed(0)
    controller = GateController(4, num_gates(2, read_gates), hidden=6)
    chain = OperatorChain(
        {"input": load, "increment": shift}, controller, routing=routing, read_gates=read_gates
    )
    chain.double()
    control = torch.randn(STEPS, ROWS, 4, dtype=torch.float64)
    first = torch.eye(SLOTS, dtype=torch.float64)[:ROWS]
    return chain, control, first


def unrolled(chain, control, first, routing, read_gates):
    """The whole loop in NumPy, from the equations."""
    head = {name: p.detach().numpy() for name, p in chain.controller.gates.named_parameters()}
    h = c = np.zeros((ROWS, 6))
    w = o = np.zeros((ROWS, SLOTS))
    a = first.numpy()
    matrix = np.eye(SLOTS, k=1)  # row vectors: slot n goes to n + 1
    gates = []
    for u in control.numpy():
        h, c = lstm_by_hand(chain.controller.cell, u, h, c)
        logits = h @ head["weight"].T + head["bias"]
        read = sigmoid(logits[:, 3:]) if read_gates else np.ones((ROWS, 2))
        logits = logits[:, :3]
        if routing == "sigmoid":
            g = sigmoid(logits)
            w = (1 - g[:, :1]) * w + g[:, :1] * a
            w = (1 - g[:, 1:2]) * w + g[:, 1:2] * ((read[:, 1:2] * w) @ matrix)
            o = (1 - g[:, 2:]) * o + g[:, 2:] * w
        else:
            g = np.exp(logits - logits.max(1, keepdims=True))
            g = g / g.sum(1, keepdims=True)
            if routing == "hard":
                g = np.eye(3)[g.argmax(1)]
            new = g[:, :1] * a + g[:, 1:2] * ((read[:, 1:2] * w) @ matrix) + g[:, 2:] * w
            o = g[:, 2:] * w + (1 - g[:, 2:]) * o
            w = new
        gates.append(g)
    return o, w, np.stack(gates)


@pytest.mark.parametrize("routing", ["soft", "sigmoid", "hard"])
@pytest.mark.parametrize("read_gates", [False, True])
def test_chain_is_the_loop_by_hand(routing, read_gates):
    chain, control, first = made(routing, read_gates)
    run = chain(control, {"first": first}, torch.zeros(ROWS, SLOTS, dtype=torch.float64), temperature=0.7)
    o, w, gates = unrolled(chain, control, first, routing, read_gates)
    np.testing.assert_allclose(run.output.detach(), o, atol=1e-12)
    np.testing.assert_allclose(run.workspaces[-1].detach(), w, atol=1e-12)
    np.testing.assert_allclose(run.gates.detach(), gates, atol=1e-12)


def test_hard_gates_are_exact_with_the_gradient_of_the_soft_max():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(4, 3, dtype=torch.float64)
    hard = gate(logits, "hard", 0.5)
    assert set(hard.detach().flatten().tolist()) == {0.0, 1.0}
    (hard * target).sum().backward()
    gradient = logits.grad.clone()
    logits.grad = None
    ((logits / 0.5).softmax(-1) * target).sum().backward()
    torch.testing.assert_close(gradient, logits.grad)


def test_other_operators_under_frozen_gates():
    """Operators of another width under the same controller; only they get gradients."""
    chain, control, _ = made()
    step = nn.Linear(2, 2).double()
    operators = {"input": load, "increment": lambda w, inputs: step(w)}
    first = torch.ones(ROWS, 2, dtype=torch.float64)
    chain.controller.requires_grad_(False)
    run = chain(control, {"first": first}, torch.zeros_like(first), operators=operators)
    run.output.sum().backward()
    assert step.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in chain.controller.parameters())
    torch.testing.assert_close(run.gates, chain(control, {"first": first}, first, operators=operators).gates)


class Scripted(nn.Module):
    """A controller that plays given logits."""

    def forward(self, control, state):
        return control, state


def test_halting_keeps_the_answer_and_counts_the_steps():
    """Row 0 emits at the second step, row 1 never: after its answer, what happens no longer matters."""
    big = 50.0
    script = torch.tensor([[0, 0], [2, 1], [1, 1], [2, 1]])  # step × row: 0 load, 1 shift, 2 output
    control = big * torch.nn.functional.one_hot(script, 3).double()
    chain = OperatorChain({"input": load, "increment": shift}, Scripted(), routing="soft")
    first = torch.eye(SLOTS, dtype=torch.float64)[:2]
    start = torch.zeros(2, SLOTS, dtype=torch.float64)
    free, halted = (
        chain(control, {"first": first}, start),
        chain(control, {"first": first}, start, halt_at=0.95),
    )
    assert free.output[0].argmax() == 1  # it was shifted and emitted again
    assert halted.output[0].argmax() == 0
    assert halted.halted.tolist() == [2, 4]
    assert free.halted.tolist() == [4, 4]


def test_router_output_has_every_gate_of_every_step():
    chain, control, first = made()
    run = chain(control, {"first": first}, torch.zeros(ROWS, SLOTS, dtype=torch.float64))
    out = run.router()
    assert out.weights.shape == out.index.shape == out.logits.shape == (STEPS * ROWS, 3)
    torch.testing.assert_close(out.weights.sum(1), torch.ones(STEPS * ROWS, dtype=torch.float64))
    assert chain.names == ("input", "increment", "output")


def test_entropy_and_ponder_in_closed_form():
    even = torch.full((4, 2, 3), 1 / 3)
    assert gate_entropy(even).item() == pytest.approx(np.log(3), rel=1e-6)
    assert gate_entropy(torch.eye(3)[None]).item() == pytest.approx(0, abs=1e-6)
    # Σ_{t=1}^{4} (2/3)^t
    assert ponder_cost(even).item() == pytest.approx(sum((2 / 3) ** t for t in range(1, 5)), rel=1e-6)


def test_codes():
    """Each written down by hand for 4 values and 3 steps."""
    assert control_code("onehot", 4, 3)[2].tolist() == np.eye(4).tolist()
    assert control_code("onehot0", 4, 3).sum((1, 2)).tolist() == [4, 0, 0]
    thermo = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert control_code("thermo", 4, 3).tolist() == [thermo] * 3
    assert control_code("serial", 4, 3)[..., 0].tolist() == [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]


def test_a_chain_needs_an_operator():
    with pytest.raises(ValueError, match="at least one operator"):
        OperatorChain({}, Scripted())


# ---- domains ----------------------------------------------------------------------------------------------------


def test_domain_workspace_by_hand():
    """tanh(Σ α e) of linear maps, by NumPy; names need not be names of Python."""
    torch.manual_seed(0)
    names = {"a.b": 3, "keys": 2}
    encoders = {d: nn.Linear(n, 4).double() for d, n in names.items()}
    decoders = {d: nn.Linear(4, n).double() for d, n in names.items()}
    space = DomainWorkspace(encoders, decoders)
    assert len(list(space.parameters())) == 8
    x = {d: torch.randn(5, n, dtype=torch.float64) for d, n in names.items()}
    share = torch.rand(5, dtype=torch.float64)
    weights = {"a.b": share, "keys": 1 - share}

    def linear(layer, values):
        return values @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    z = {d: linear(encoders[d], v.numpy()) for d, v in x.items()}
    expected = np.tanh(sum(weights[d].numpy()[:, None] * z[d] for d in names))
    w = space.fuse(space.encode(x), weights)
    np.testing.assert_allclose(w.detach(), expected, atol=1e-12)
    np.testing.assert_allclose(
        space.decode(w, ["keys"])["keys"].detach(), linear(decoders["keys"], expected), atol=1e-12
    )
    alone = linear(decoders["keys"], np.tanh(z["a.b"]))
    np.testing.assert_allclose(space.translate({"a.b": x["a.b"]}, "keys").detach(), alone, atol=1e-12)


def test_encoders_and_decoders_are_of_the_same_domains():
    with pytest.raises(ValueError, match="decoders of"):
        DomainWorkspace({"a": torch.tanh}, {"b": torch.tanh})


def test_shares_are_of_what_is_there():
    present = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, False, True, False])}
    equal = equal_weights(present)
    assert equal["a"].tolist() == [0.5, 1, 0, 0]
    assert equal["b"].tolist() == [0.5, 0, 1, 0]
    drawn = random_weights(present, torch.Generator().manual_seed(0))
    total = drawn["a"] + drawn["b"]
    torch.testing.assert_close(total, torch.tensor([1.0, 1, 1, 0]))
    assert drawn["a"][0] != 0.5
    assert drawn["a"][1:].tolist() == [1, 0, 0]


def test_a_domain_can_be_loaded_and_read_by_a_chain():
    """Both uses of one vector: an encoder is the operator that loads, a decoder reads the register."""
    torch.manual_seed(0)
    space = DomainWorkspace({"x": nn.Linear(3, 4)}, {"x": nn.Linear(4, 3)})
    operators = {
        "load": lambda w, inputs: space.fuse(space.encode({"x": inputs["x"]})),
        "negate": lambda w, inputs: -w,
    }
    script = torch.nn.functional.one_hot(torch.tensor([[0], [1], [2]]), 3).float() * 100
    chain = OperatorChain(operators, Scripted())
    x = torch.randn(1, 3)
    run = chain(script, {"x": x}, torch.zeros(1, 4))
    torch.testing.assert_close(
        space.decode(run.output)["x"], space.decoders["x"](-torch.tanh(space.encoders["x"](x)))
    )


# ---- who is heard: shares of the domains ---------------------------------------------------------------------------


def wave(rows, cols, phase):
    return torch.sin(torch.arange(rows * cols, dtype=torch.float64).reshape(rows, cols) * 0.7 + phase)


def attention(num_steps, names=("v", "t")):
    """The weights with which shimmer's attention gave the numbers below."""
    made = QueryAttention(names, 4, head=2, num_steps=num_steps).double()
    with torch.no_grad():
        made.query.weight.copy_(wave(2, 4, 1.0))
        made.query.bias.copy_(wave(1, 2, 2.0)[0])
        for i, name in enumerate(("v", "t")):
            key = made.keys[made.places[name]]
            key.weight.copy_(wave(2, 4, 3.0 + i))
            key.bias.copy_(wave(1, 2, 5.0 + i)[0])
        made.start.copy_(wave(1, 4, 7.0)[0])
    return made


Z = {"v": wave(3, 4, 20.0), "t": wave(3, 4, 21.0)}


@pytest.mark.parametrize(
    ("num_steps", "shares"),
    [
        (0, [0.13192297320547616, 0.6622127495691144, 0.3423724451234416]),
        (1, [0.12973982559211564, 0.12515179326136808, 0.2822517682816894]),
        (3, [0.12978269790277416, 0.19233217262751173, 0.27417912147955514]),
    ],
)
def test_attention_is_shimmers(num_steps, shares):
    """ruflab/shimmer at d729e5e, ``DynamicQueryAttention`` on these weights, run once; numbers stored."""
    weights = attention(num_steps)(Z)
    assert weights["v"].tolist() == pytest.approx(shares, rel=1e-12)
    assert (weights["v"] + weights["t"]).tolist() == pytest.approx([1.0] * 3)


def test_attention_takes_one_row_any_order_and_some_domains():
    """Each row is alone; the order of the domains is free; what a row lacks is as if it had not been given."""
    whole, made = attention(2)(Z), attention(2)
    one = made({name: values[:1] for name, values in Z.items()})
    assert one["v"].shape == (1,)
    torch.testing.assert_close(one["v"], whole["v"][:1])
    turned = attention(2, ("t", "v"))({name: Z[name] for name in ("t", "v")})
    torch.testing.assert_close(turned["v"], whole["v"])
    there = {"v": torch.tensor([True, False, False]), "t": torch.tensor([True, True, False])}
    lacking = made({"v": Z["v"] * 100, "t": Z["t"]}, there)
    assert lacking["v"][1:].tolist() == [0, 0]
    assert lacking["t"][1:].tolist() == [1, 0]
    assert made({"t": Z["t"]})["t"].tolist() == [1, 1, 1]


def test_attention_learns_from_what_was_fused():
    made = attention(1)
    made(Z)["v"].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in made.parameters())
    with pytest.raises(ValueError, match="num_steps"):
        QueryAttention(["v"], 4, num_steps=-1)


def test_random_shares_are_the_softmax_of_noise_over_the_temperature():
    """The formula of shimmer's ``RandomSelection``, on the same noise."""
    present = {name: torch.ones(5, dtype=torch.bool) for name in "abc"}
    drawn = random_weights(present, torch.Generator().manual_seed(4), temperature=0.2)
    noise = torch.rand(3, 5, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(torch.stack(list(drawn.values())), (noise / 0.2).softmax(0))


def test_single_shares_choose_evenly_from_what_is_there():
    present = {"v": torch.ones(6000, dtype=torch.bool), "t": torch.ones(6000, dtype=torch.bool)}
    present["s"] = torch.arange(6000) < 3000
    drawn = torch.stack(list(single_weights(present, torch.Generator().manual_seed(0)).values()))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn.sum(0) == 1).all()
    assert drawn[:, :3000].mean(1).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert drawn[:, 3000:].mean(1).tolist() == pytest.approx([1 / 2, 1 / 2, 0], abs=0.03)
    nobody = single_weights({"v": torch.tensor([False])})
    assert nobody["v"].tolist() == [0.0]
