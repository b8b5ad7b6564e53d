"""Principal axes and ridge regressions from sums over examples, so that memory does not grow with them.

Ridge regression: Hoerl, Kennard, Technometrics 12 (1970). The same as scikit-learn's ``PCA`` and ``Ridge`` on the examples
themselves (tests/systems/test_matryoshka_2d_closed_form.py).

Shape legend: N examples, P inputs, D outputs.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

# Candidates for the strength of the penalty, in units of the mean variance of an input times the number of examples.
PENALTIES = tuple(np.logspace(-5, 1, 13).tolist())


class Moments(nn.Module):
    """Sums of inputs x, outputs y and their products over examples, in float64."""

    count: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        shapes = {
            "count": (),
            "x": (inputs,),
            "y": (outputs,),
            "xx": (inputs, inputs),
            "xy": (inputs, outputs),
            "yy": (outputs, outputs),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def add(self, x: Float[Tensor, "n inputs"], y: Float[Tensor, "n outputs"]) -> None:
        """Counts more examples in."""
        x, y = x.to(self.x), y.to(self.y)
        self.count += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.yy += y.T @ y

    def joined(self, other: "Moments") -> "Moments":
        """The sums over the examples of both."""
        both = Moments(len(self.x), len(self.y))
        for name, total in both.named_buffers():
            total += getattr(self, name) + getattr(other, name)
        return both


def principal_axes(moments: Moments) -> Float[Tensor, "outputs outputs"]:
    """The directions in which y varies most, from the first on, as columns; the largest entry of each is positive."""
    mean = moments.y / moments.count
    covariance = moments.yy - moments.count * torch.outer(mean, mean)
    axes = torch.linalg.eigh(covariance).eigenvectors.flip(1)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return axes * largest.sign()


def best_ridge(
    fitted: Moments, held_out: Moments
) -> tuple[Float[Tensor, "inputs outputs"], Float[Tensor, " outputs"], float, float]:
    """W and b of y ≈ xW + b with the penalty that leaves the smallest squared error on ``held_out``, then solved on both.

    Gives W, b, the penalty α (of ‖y − xW − b‖² + α‖W‖²) and the share of the held-out variance that was explained (0 where
    it has none). Of inputs that are all the same, W is 0 and b the mean.
    """
    solver = _Ridge(fitted)
    scale = float(solver.values.clamp(min=0).mean()) or 1.0
    alphas = [penalty * scale for penalty in PENALTIES]
    errors = [_squared_error(held_out, *solver.solve(alpha)) for alpha in alphas]
    best = int(np.argmin(errors))
    mean = fitted.y / fitted.count
    spread = held_out.yy.trace() - 2 * mean @ held_out.y + held_out.count * mean @ mean
    weight, bias = _Ridge(fitted.joined(held_out)).solve(alphas[best])
    share = 1 - errors[best] / float(spread) if spread > 0 else 0.0
    return weight, bias, alphas[best], share


class _Ridge:
    """Solves for any penalty after one decomposition of the inputs' covariance."""

    def __init__(self, moments: Moments):
        self.x, self.y = moments.x / moments.count, moments.y / moments.count
        self.values, self.vectors = torch.linalg.eigh(
            moments.xx - moments.count * torch.outer(self.x, self.x)
        )
        self.products = self.vectors.T @ (moments.xy - moments.count * torch.outer(self.x, self.y))

    def solve(self, alpha: float) -> tuple[Tensor, Tensor]:
        weight = self.vectors @ (self.products / (self.values.clamp(min=0) + alpha)[:, None])
        return weight, self.y - self.x @ weight


def _squared_error(moments: Moments, weight: Tensor, bias: Tensor) -> float:
    """Σ‖xW + b − y‖² over the examples of ``moments``."""
    quadratic = (weight * (moments.xx @ weight)).sum() - 2 * (weight * moments.xy).sum() + moments.yy.trace()
    shift = moments.x @ weight - moments.y
    return float(quadratic + 2 * bias @ shift + moments.count * bias @ bias)
