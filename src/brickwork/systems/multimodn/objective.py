"""Losses of several tasks, some of whose labels are unknown, at several steps, some of which a row did not take part in.

Shape legend: Q steps, B rows, C classes (or 1 number).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def step_losses(
    outputs: Float[Tensor, "steps batch out"],
    target: Int64[Tensor, " batch"] | Float[Tensor, " batch"],
    taken: Bool[Tensor, "steps batch"],
    *,
    outputs_are: Literal["logits", "sigmoid"] = "logits",
) -> Float[Tensor, " steps"]:
    """The loss of one task at each step: the sum over rows that took the step, divided by all rows with a known target.

    So a row that skips a step adds nothing, and the denominator stays. Class targets: cross-entropy, −1 is unknown;
    numbers: squared error of output 0, NaN is unknown. ``sigmoid``: cross-entropy of σ(outputs) as if they were logits,
    as MultiModN's authors do; of two classes it cannot go below log(1 + 1/e) = 0.3133.
    """
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    if target.is_floating_point():
        labelled = torch.isfinite(target)
        wanted = torch.where(labelled, target, torch.zeros_like(target)).to(outputs.dtype)
        loss = (outputs[..., 0] - wanted).square()
    else:
        labelled = target >= 0
        scores = outputs.sigmoid() if outputs_are == "sigmoid" else outputs
        steps, rows, classes = scores.shape
        wanted = target.clamp_min(0).expand(steps, -1)
        loss = F.cross_entropy(scores.reshape(-1, classes), wanted.reshape(-1), reduction="none")
        loss = loss.reshape(steps, rows)
    counted = loss * (taken & labelled).to(loss.dtype)
    return counted.sum(1) / labelled.sum().clamp_min(1)


def class_probabilities(
    outputs: Float[Tensor, "*rows classes"], outputs_are: Literal["logits", "sigmoid"] = "logits"
) -> Float[Tensor, "*rows classes"]:
    """Probabilities of the classes: softmax, or sigmoids brought to the sum 1."""
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    if outputs_are == "logits":
        # torch's own softmax goes through the rows one by one, five times slower where a row has a few classes.
        scores = (outputs - outputs.amax(-1, keepdim=True)).exp()
    else:
        scores = outputs.sigmoid()
    return scores / scores.sum(-1, keepdim=True)
