"""What this machine's processor can do, and whether bf16 pays on it.

On a processor without bf16 instructions torch emulates them at about a hundredth of the fp32 speed, so bf16
is used where the instructions are seen, never assumed.
"""

import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_CPUINFO = Path("/proc/cpuinfo")
# What decides speed here, under the names that Linux gives them.
_NAMES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16",
          "avx_vnni", "asimd", "bf16", "i8mm", "sve")  # fmt: skip


@cache
def cpu_features() -> tuple[str, ...]:
    """The instruction sets of this processor that matter for speed, by Linux names; empty if unknown."""
    return features_in(_CPUINFO.read_text(errors="replace")) if _CPUINFO.is_file() else ()


def features_in(cpuinfo: str) -> tuple[str, ...]:
    """The same, out of the text of ``/proc/cpuinfo``."""
    features: set[str] = set()
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            features.update(value.split())
            break
    return tuple(name for name in _NAMES if name in features)


def cpu_name() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip().lower() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def bf16_is_fast(device: "torch.device | str" = "cpu") -> bool:
    """Whether matrix products in bf16 run on instructions made for them.

    On a CPU: AVX-512 BF16 or AMX (x86), BF16 (ARM), not switched off by ``ATEN_CPU_CAPABILITY=default`` or
    ``avx2``. On CUDA: compute capability 8.0 or newer.
    """
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if kind != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if os.environ.get("ATEN_CPU_CAPABILITY", "").lower() in ("default", "avx2"):
        return False
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(cpu_features()))


def bf16_reason(device: "torch.device | str" = "cpu") -> str:
    """One line for logs: what bf16 would run on, or why it is not used."""
    import torch

    if torch.device(device).type != "cpu":
        return f"bf16 {'is' if bf16_is_fast(device) else 'is not'} fast on {device}"
    if bf16_is_fast("cpu"):
        features = [name for name in cpu_features() if "bf16" in name]
        return f"bf16 runs on {', '.join(features)}"
    return "fp32: this processor has neither AVX-512 BF16 nor AMX in use"
