"""Which numbers to calculate in, and why."""

from typing import Literal

import torch

from brickwork.core.hardware import bf16_is_fast, bf16_reason


def choose_precision(
    precision: Literal["auto", "fp32", "bf16"], device: torch.device | str
) -> tuple[bool, str]:
    """Whether to calculate in bfloat16, and the reason in words.

    ``auto`` takes bfloat16 only where ``device`` has instructions for it. Weights and the optimiser stay in
    float32 in any case.
    """
    if precision == "fp32":
        return False, "fp32, as asked for"
    if precision == "bf16":
        slow = (
            "" if bf16_is_fast(device) else "; it is emulated here and slow: train.precision=fp32 is faster"
        )
        return True, f"bf16, as asked for{slow}"
    return bf16_is_fast(device), bf16_reason(device)
