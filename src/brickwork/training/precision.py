"""Which numbers to calculate in, and why."""

from typing import Literal

import torch

from brickwork.core.hardware import bf16_is_fast, bf16_reason

FabricPrecision = Literal["32-true", "bf16-mixed"]


def choose_precision(
    precision: Literal["auto", "fp32", "bf16"], device: torch.device | str
) -> tuple[FabricPrecision, str]:
    """Fabric's name of the precision, and the reason in words.

    ``auto`` takes bfloat16 only where ``device`` has instructions for it. Weights and the optimiser stay in
    float32 in any case.
    """
    if precision == "fp32":
        return "32-true", "fp32, as asked for"
    if precision == "bf16":
        slow = (
            "" if bf16_is_fast(device) else "; it is emulated here and slow: train.precision=fp32 is faster"
        )
        return "bf16-mixed", f"bf16, as asked for{slow}"
    return ("bf16-mixed" if bf16_is_fast(device) else "32-true"), bf16_reason(device)
