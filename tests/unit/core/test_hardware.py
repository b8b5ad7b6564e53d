"""What a processor can do, read from what Linux says of it; bf16 only where it is fast."""

import pytest

from brickwork.core import hardware

# Excerpts of real files: an Intel Sapphire Rapids, an AMD Zen 3, an ARM Neoverse V1.
INTEL = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\nflags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16 amx_bf16\n"
AMD = "processor\t: 0\nmodel name\t: AMD EPYC 7763\nflags\t\t: fpu sse avx2 vaes\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd sve bf16 i8mm\nCPU part\t: 0xd40\n"


@pytest.mark.parametrize(
    ("text", "features"),
    [
        (INTEL, ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")),
        (AMD, ("avx2",)),
        (ARM, ("asimd", "bf16", "i8mm", "sve")),
        ("", ()),
    ],
)
def test_features_are_read(text, features):
    assert hardware.features_in(text) == features


@pytest.mark.parametrize(("text", "fast"), [(INTEL, True), (AMD, False), (ARM, True), ("", False)])
def test_bf16_is_used_only_where_there_are_instructions(text, fast, monkeypatch):
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    monkeypatch.setattr(hardware, "cpu_features", lambda: hardware.features_in(text))
    assert hardware.bf16_is_fast("cpu") is fast
    assert ("bf16 runs on" in hardware.bf16_reason("cpu")) is fast


def test_bf16_is_not_used_where_torch_was_told_to_leave_the_instructions_alone(monkeypatch):
    monkeypatch.setattr(hardware, "cpu_features", lambda: hardware.features_in(INTEL))
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert not hardware.bf16_is_fast("cpu")


def test_unknown_devices_do_not_use_bf16():
    assert not hardware.bf16_is_fast("meta")
