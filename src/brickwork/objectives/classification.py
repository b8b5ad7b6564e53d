"""Losses on class labels."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def cross_entropy(
    logits: Float[Tensor, "batch classes"],
    label: Int64[Tensor, " batch"] | Float[Tensor, "batch classes"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean softmax cross-entropy, in float32 at least. ``label``: classes, or their shares, which sum to 1.

    Maths: −(1/B) Σ_i Σ_c q_ic log softmax(logits_i)_c, q = (1−ε)·onehot + ε/C, or of the shares.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits, label, label_smoothing=label_smoothing)
