"""Items 2, 3, 4, 9 and 11 of the battery: the loss, what it reaches, and odd inputs."""

import math

import numpy as np
import pytest
import torch

from brickwork.core.types import (
    Analyses,
    CachesGradients,
    Draws,
    Encodes,
    Evaluates,
    Fits,
    Generates,
    LossOutput,
    Predicts,
    Recommends,
    Traces,
    Trainable,
)

ROWS = range(16)
# The smoke encoders read a few tokens only, of which encoding tells.
pytestmark = pytest.mark.filterwarnings("ignore:.*were cut there:brickwork.core.errors.BrickworkWarning")


def test_protocols(case):
    """A system can do what its card says, and says what it can do."""
    system = case.fresh()
    assert isinstance(system, Trainable | Fits)
    able = {
        "encodes": Encodes,
        "predicts": Predicts,
        "generates": Generates,
        "evaluates": Evaluates,
        "recommends": Recommends,
        "analyses": Analyses,
        "traces": Traces,
        "draws": Draws,
    }
    for capability, protocol in able.items():
        assert isinstance(system, protocol) == case.does(capability), capability
    assert hasattr(system, "architecture"), "nothing for the user to keep"


def test_loss_is_a_finite_scalar_that_reaches_every_parameter(case):
    """Item 2. Three steps, since a step may train only some of the sizes; where some are still left, at most thirty with
    updates between them: a rank may not be drawn sooner, and the first half of a product with zeros has no gradient."""
    case.needs_loss()
    system = case.fresh()
    trained = {name for name, p in system.named_parameters() if p.requires_grad}
    optimiser = torch.optim.SGD(system.parameters(), lr=1e-3)
    reached: set[str] = set()
    for step in range(30):
        if step >= 3 and reached == trained:
            break
        if step >= 3:
            optimiser.step()
        output = system.loss(case.batch(system, ROWS, step))
        assert output.total.shape == ()
        assert math.isfinite(output.total.item())
        system.zero_grad()
        output.total.backward()
        reached |= {
            name for name, p in system.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
        }
    assert reached == trained


def test_overfits_one_batch(case):
    """Item 3: the loss of one batch falls below a fifth within 120 steps of plain Adam."""
    case.needs_loss()
    system = case.fresh()
    # A row of a language model is a window of many tokens, each of which is to be learnt.
    batch = case.batch(system, range(4) if case.does("generates") else ROWS)
    optimiser = torch.optim.Adam(system.parameters(), lr=3e-3)

    def loss() -> float:
        with torch.no_grad():
            return system.loss(batch).total.item()

    wanted = loss() / 5
    for step in range(120):
        optimiser.zero_grad()
        output = system.loss({**batch, "step": step})
        output.total.backward()
        optimiser.step()
        if output.total.item() < wanted and loss() < wanted:
            break
    assert loss() < wanted


@pytest.mark.parametrize("rows", [range(1), range(7)], ids=["one", "odd"])
def test_odd_batches(case, rows):
    """Item 4."""
    system = case.fresh()
    if isinstance(system, Trainable):
        assert math.isfinite(system.loss(case.batch(system, rows)).total.item())
    if case.does("encodes"):
        assert system.encode(case.inputs(rows)).shape == (len(rows), system.representation().axes.full_dim)
    for name, values in case.answers(system.eval(), rows).items():
        assert values.dtype.kind != "f" or np.isfinite(values).all(), name


def test_empty_and_longest_inputs(case):
    """Item 4: no input, an empty text or blank image, and a text of more tokens than are allowed."""
    case.needs("encodes")
    system = case.fresh().eval()
    if case.data.modality != "image":
        odd = ["", " ", "word " * 5000, "\u0000", "日本語 🙂"]
        assert system.encode([]).shape == (0, system.representation().axes.full_dim)
    else:
        blank = np.zeros_like(case.inputs(range(2)))
        odd = np.concatenate([blank[:1], np.full_like(blank[:1], 255)])
        assert system.encode(odd[:0]).shape == (0, system.representation().axes.full_dim)
    vectors = system.encode(odd)
    assert np.isfinite(vectors).all()


def test_rows_do_not_depend_on_their_place(case):
    """Item 4: a permuted batch gives permuted vectors and predictions, and the same loss."""
    system = case.fresh().eval()
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0)).tolist()
    if case.does("encodes"):
        straight, shuffled = (system.encode(case.inputs(rows), precision="fp32") for rows in (ROWS, order))
        np.testing.assert_allclose(shuffled, straight[order], rtol=1e-5, atol=1e-6)
    if case.does("predicts"):
        answers = [system.predict(case.data.train.take(list(rows))) for rows in (ROWS, order)]
        for name, values in answers[0].items():
            expected, results = np.asarray(values)[order], np.asarray(answers[1][name])
            same = (
                np.allclose(results, expected, atol=1e-5)
                if expected.dtype.kind == "f"
                else (results == expected).all()
            )
            assert same, name
    if not isinstance(system, Trainable):
        return
    with torch.no_grad():
        one, other = (system.loss(case.batch(system, rows)).total for rows in (ROWS, order))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_terms_sum_to_the_total(case):
    """Item 11."""
    case.needs_loss()
    system = case.fresh()
    for step in range(4):
        output = system.loss(case.batch(system, ROWS, step))
        assert isinstance(output, LossOutput)
        total = sum(output.weights.get(name, 1.0) * term.item() for name, term in output.terms.items())
        assert output.total.item() == pytest.approx(total, rel=1e-5)
        assert not set(output.terms) & set(output.stats)


def test_cached_gradient_is_the_gradient(case):
    """``loss`` is ``loss_from(embed)``, and in float64 chunked embedding gives the same gradient."""
    system = case.fresh().double()
    if not isinstance(system, CachesGradients):
        pytest.skip(f"{case.slug} does not split its loss")
    batch = {
        name: value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in case.batch(system, ROWS).items()
    }
    system.loss(batch).total.backward()
    direct = {name: p.grad.clone() for name, p in system.named_parameters() if p.grad is not None}
    system.zero_grad()
    whole = system.embed(batch)
    leaves = {name: z.detach().requires_grad_() for name, z in whole.items()}
    system.loss_from(leaves, batch).total.backward()
    torch.autograd.backward(list(whole.values()), [z.grad for z in leaves.values()])
    for name, gradient in direct.items():
        torch.testing.assert_close(
            dict(system.named_parameters())[name].grad, gradient, rtol=1e-9, atol=1e-11
        )


def test_bf16_autocast(case):
    """Item 9: in bfloat16 the loss is finite and near the one in float32."""
    case.needs_loss()
    system = case.fresh()
    batch = case.batch(system, ROWS)
    with torch.no_grad():
        exact = system.loss(batch).total.item()
        with torch.autocast("cpu", torch.bfloat16):
            rough = system.loss(batch).total.item()
    assert rough == pytest.approx(exact, rel=0.1)


def test_compile(case, plain_process):
    """Item 9: the compiler's front end takes the loss, and gives the same number."""
    case.needs_loss()
    losses = plain_process("compiled_loss", case.slug)
    if "refused" in losses:
        pytest.skip(f"torch.compile: {losses['refused']}")
    assert losses["compiled"] == pytest.approx(losses["plain"], rel=1e-4, abs=1e-5)
