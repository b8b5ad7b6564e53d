"""The computations of the grouped linear against each other and against one token at a time."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from brickwork.core.errors import ConfigError
from brickwork.core.types import RouterOutput
from brickwork.modules.experts import (
    Dispatch,
    ExpertLinear,
    ExpertMlp,
    automatic,
    frozen_start,
    grouped_linear,
)

ROUTINGS = {
    "even": [10, 10, 10, 10],
    "skewed": [1, 30, 2, 7],
    "empty": [0, 20, 0, 20],
    "all to one": [0, 0, 40, 0],
    "none": [0, 0, 0, 0],
}


def inputs(counts, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(sum(counts), 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 8, 16, generator=generator, dtype=torch.float64)
    upstream = torch.randn(sum(counts), 16, generator=generator, dtype=torch.float64)
    return x.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), upstream.to(dtype)


def values_and_gradients(counts, computation, dtype):
    x, weight, upstream = inputs(counts, dtype)
    y = grouped_linear(x, weight, torch.tensor(counts), computation)
    return y.detach(), *torch.autograd.grad((y * upstream).sum(), (x, weight))


def by_hand(counts):
    """Each row alone, with the matrix of its module, and the textbook gradients."""
    x, weight, upstream = (t.detach() for t in inputs(counts, torch.float64))
    owner = [m for m, count in enumerate(counts) for _ in range(count)]
    y = torch.zeros(len(x), 16, dtype=torch.float64)
    dx, dw = torch.zeros_like(x), torch.zeros_like(weight)
    for row, module in enumerate(owner):
        y[row] = x[row] @ weight[module]
        dx[row] = weight[module] @ upstream[row]
        dw[module] += torch.outer(x[row], upstream[row])
    return y, dx, dw


@pytest.mark.parametrize("counts", ROUTINGS.values(), ids=ROUTINGS)
@pytest.mark.parametrize("computation", ["loop", "sorted"])
def test_equal_in_float64(counts, computation):
    for results, expected in zip(values_and_gradients(counts, computation, torch.float64), by_hand(counts)):
        torch.testing.assert_close(results, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("counts", ROUTINGS.values(), ids=ROUTINGS)
@pytest.mark.parametrize("computation", ["loop", "sorted", "grouped"])
def test_equal_in_float32(counts, computation):
    """PyTorch's grouped product has no float64; here it is held to the float64 dimensions at float32's precision."""
    for results, expected in zip(values_and_gradients(counts, computation, torch.float32), by_hand(counts)):
        torch.testing.assert_close(results.double(), expected, rtol=1e-5, atol=1e-5)


def test_grouped_says_that_it_has_no_float64():
    with pytest.raises(ConfigError, match="no float64"):
        grouped_linear(
            torch.zeros(2, 8, dtype=torch.float64),
            torch.zeros(1, 8, 8, dtype=torch.float64),
            torch.tensor([2]),
            "grouped",
        )


@pytest.mark.parametrize("computation", ["loop", "sorted", "grouped"])
def test_expanded_gradients_and_autocast(computation):
    """``sum`` sends an expanded gradient back; under autocast the products are in bfloat16."""
    x, weight, _ = inputs([10, 0, 20, 10], torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = grouped_linear(x, weight, torch.tensor([10, 0, 20, 10]), computation)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    exact = by_hand([10, 0, 20, 10])[0]
    torch.testing.assert_close(y.double(), exact, rtol=0.05, atol=0.2)
    assert weight.grad[1].abs().sum() == 0


def test_gradcheck():
    x, weight, _ = inputs([3, 0, 1, 2], torch.float64)
    counts = torch.tensor([3, 0, 1, 2])
    assert torch.autograd.gradcheck(lambda a, b: grouped_linear(a, b, counts, "sorted"), (x, weight))


# ---- the kernels for a GPU -------------------------------------------------------------------------------------

INTERPRETED = """
import sys, torch
from brickwork.modules.experts import ExpertMlp, grouped_linear
from brickwork.core.types import RouterOutput

largest = {}
for dtype in (torch.float32, torch.float64):
    # Several tiles in every direction, none of them full.
    for counts in ([35, 35, 35, 35], [1, 130, 2, 7], [0, 70, 0, 70], [0, 0, 140, 0], [0, 0, 0, 0]):
        generator = torch.Generator().manual_seed(0)
        draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)
        x, weight, upstream = draw(sum(counts), 40), draw(4, 40, 72), draw(sum(counts), 72)
        found = []
        for computation in ("triton", "loop"):
            x, weight = (t.detach().requires_grad_() for t in (x, weight))
            y = grouped_linear(x, weight, torch.tensor(counts), computation)
            assert y.dtype == dtype
            found.append((y.detach(), *torch.autograd.grad((y * upstream).sum(), (x, weight))))
        for ours, reference in zip(*found):
            assert ours.shape == reference.shape
            worst = (ours - reference).abs().max().item() if ours.numel() else 0.0
            largest[str(dtype)] = max(largest.get(str(dtype), 0.0), worst)
# A gradient that is an expanded view, and modules that are frozen.
layers = [ExpertMlp(3, 8, 16, init="kaiming", computation=c) for c in ("triton", "sorted")]
layers[0].load_state_dict(layers[1].state_dict())
index = torch.tensor([[0, 1], [2, 1], [1, 0], [1, 2]])
for layer in layers:
    layer.up.frozen = 1
    layer(torch.ones(4, 8), RouterOutput(torch.ones(4, 2), index, torch.zeros(4, 3))).sum().backward()
torch.testing.assert_close(layers[0].up.weight.grad, layers[1].up.weight.grad, rtol=1e-5, atol=1e-5)
torch.testing.assert_close(layers[0].down.weight.grad, layers[1].down.weight.grad, rtol=1e-5, atol=1e-5)
assert layers[0].up.weight.grad[0].abs().sum() == 0
print(largest["torch.float32"], largest["torch.float64"])
"""


def in_a_process(script, **environment):
    """Triton reads TRITON_INTERPRET once, when a kernel is defined; so each choice has a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is not installed (there are builds for Linux only)",
)


@needs_triton
def test_triton_is_the_loop():
    """In Triton's interpreter: skewed, empty and all-to-one routing, forward and gradients, float32 and float64."""
    single, double = map(float, in_a_process(INTERPRETED, TRITON_INTERPRET="1"))
    assert single < 1e-4  # sums of up to 140 products of size 1
    assert 0 < double < 1e-12


COMPILED = """
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from brickwork.modules import experts_triton as kernels

how = {"PRECISION": "ieee", "SUM": tl.float32, "TILE": kernels._TILE, "STEP": kernels._STEP}
for kernel in (kernels._rows_kernel, kernels._matrices_kernel):
    names = [name for name in kernel.arg_names if name not in how]
    kinds = ["*bf16"] * 3 + ["*i64"] * (3 if "tile_start" in names else 2)
    kinds += ["i32"] * (len(names) - len(kinds))
    signature = {**dict(zip(names, kinds)), **dict.fromkeys(how, "constexpr")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=how)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    print(len(made.asm["cubin"]) > 0, "mma" in made.asm["ptx"])
"""


@needs_triton
def test_triton_kernels_compile_for_a_gpu(tmp_path):
    """To machine code with matrix instructions, in bfloat16, which the interpreter cannot multiply; no GPU is needed."""
    said = in_a_process(COMPILED, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert said == ["True"] * 4


@needs_triton
def test_triton_says_that_it_needs_a_gpu():
    x, weight, _ = inputs([1, 1, 1, 1], torch.float32)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="'triton' runs on a GPU; on a CPU use 'sorted' or 'auto'"):
            grouped_linear(x, weight, torch.tensor([1, 1, 1, 1]), "triton")


def test_triton_says_that_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    x, weight, _ = inputs([1, 1, 1, 1], torch.float32)
    with pytest.raises(ConfigError, match="needs the package: pip install triton"):
        grouped_linear(x, weight, torch.tensor([1, 1, 1, 1]), "triton")
    assert automatic(torch.device("cuda"), torch.float32) == "grouped"


def test_auto_follows_device_and_precision(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert automatic(torch.device("cpu"), torch.float32) == "sorted"
    assert automatic(torch.device("cuda"), torch.float64) == "sorted"
    assert automatic(torch.device("cuda"), torch.bfloat16) == "triton"
    x, weight, _ = inputs([1, 1, 1, 1], torch.float32)
    counts = torch.tensor([1, 1, 1, 1])
    assert torch.equal(grouped_linear(x, weight, counts, "auto"), grouped_linear(x, weight, counts, "sorted"))


# ---- dispatch --------------------------------------------------------------------------------------------------


def routing(tokens=12, modules=5, top_k=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    index = torch.stack([torch.randperm(modules, generator=generator)[:top_k] for _ in range(tokens)])
    weights = torch.rand(tokens, top_k, generator=generator, dtype=dtype)
    return RouterOutput(weights, index, torch.zeros(tokens, modules, dtype=dtype))


def test_dispatch_sorts_and_restores():
    routed = routing()
    dispatch = Dispatch.of(routed.index, 5)
    owners = routed.index.flatten()[dispatch.order]
    assert owners.tolist() == sorted(owners.tolist())
    assert dispatch.counts.tolist() == torch.bincount(owners, minlength=5).tolist()
    slots = torch.randn(36, 2)
    assert torch.equal(dispatch.unsort(dispatch.sort(slots)), slots)


def test_dispatch_gradients():
    routed = routing(tokens=4)
    dispatch = Dispatch.of(routed.index, 5)
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weights = routed.weights.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, w: dispatch.combine(dispatch.sort(dispatch.unsort(dispatch.spread(a) ** 2)), w),
        (x, weights),
    )


@pytest.mark.parametrize("computation", ["loop", "sorted"])
def test_mlp_is_the_sum_over_chosen_modules(computation):
    """One token and one module at a time, in float64."""
    torch.manual_seed(0)
    layer = ExpertMlp(5, 8, 16, computation=computation, init="kaiming").double()
    routed = routing()
    x = torch.randn(12, 8, dtype=torch.float64)
    results = layer(x, routed)
    for token in range(12):
        expected = torch.zeros(8, dtype=torch.float64)
        for place in range(3):
            module = routed.index[token, place]
            hidden = torch.nn.functional.gelu(x[token] @ layer.up.weight[module], approximate="tanh")
            expected += routed.weights[token, place] * (hidden @ layer.down.weight[module])
        torch.testing.assert_close(results[token], expected, rtol=1e-12, atol=1e-12)


def test_initial_weights_are_bounded_by_the_fan_in():
    authors = ExpertLinear(6, 50, 40).weight
    assert 0.9 / 50 < authors.abs().max() <= 1 / 50
    kaiming = ExpertLinear(6, 50, 40, init="kaiming").weight
    assert 0.9 * 50**-0.5 < kaiming.abs().max() <= 50**-0.5


def test_frozen_modules_get_no_gradient():
    layer = ExpertLinear(4, 8, 16)
    layer.frozen = 2
    layer(torch.randn(40, 8), torch.tensor([10, 10, 10, 10])).square().sum().backward()
    assert layer.weight.grad[:2].abs().sum() == 0
    assert (layer.weight.grad[2:].abs().sum((1, 2)) > 0).all()
    parameter = torch.ones(3, requires_grad=True)
    assert frozen_start(parameter, 0) is parameter
