"""Models written for other tools where no file may grow: one error of ours, and not half a folder."""

import os
import resource

import artifacts
import pytest
import torch
from faults import in_child

from brickwork.core.errors import ResourceError
from brickwork.modules.adapters import inject_lora
from brickwork.representation.export_classifier import export_classifier
from brickwork.representation.export_dual import export_dual
from brickwork.representation.export_onnx import export_onnx
from brickwork.representation.export_peft import export_peft
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from brickwork.representation.load import load_representation
from vision_checkpoints import dual_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own


def _sentence_transformers(place):
    model = artifacts.model()
    return lambda out: export_sentence_transformers(model, out)


def _onnx(place):
    pytest.importorskip("onnxscript")
    if os.environ.get("BRICKWORK_LONG") != "1":
        pytest.skip("tracing takes 18 seconds; make reliability runs it")
    model = artifacts.model()
    return lambda out: export_onnx(model, out)


def _dual(place):
    dual_checkpoint("clip", place / "clip")
    model = load_representation(place / "clip")
    return lambda out: export_dual(model, out)


def _dense(place):
    model = artifacts.model()
    head = torch.nn.Linear(model.encoder.embedding_dim, 3)
    return lambda out: export_classifier(model.encoder, head, ["a", "b", "c"], out)


def _peft(place):
    adapters = inject_lora(torch.nn.Sequential(torch.nn.Linear(40, 40)), "0", rank=4)
    return lambda out: export_peft(adapters, out)


@pytest.mark.parametrize(
    "prepare", [_sentence_transformers, _onnx, _dual, _dense, _peft], ids=lambda f: f.__name__.strip("_")
)
def test_nothing_is_left_of_an_export_that_the_system_refused(prepare, tmp_path, tally):
    export = prepare(tmp_path)
    whole = export(tmp_path / "whole")
    folder = whole if whole.is_dir() else whole.parent
    sizes = sorted(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    refused = 0
    for size in {0, sizes[-1] - 1, sizes[-2] - 1}:

        def limited(size=size):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            (tmp_path / "beside").mkdir(exist_ok=True)
            try:
                export(tmp_path / "beside" / "out")
            except ResourceError as error:
                return str(error)
            return ""

        child = in_child(limited)
        assert child.status == 0, child.error
        assert child.value.startswith(f"cannot write {tmp_path / 'beside' / 'out'}"), child.value
        assert "the file is larger than is allowed here" in child.value
        assert ".partial-" not in child.value
        assert list((tmp_path / "beside").iterdir()) == []
        refused += 1
    tally("R2", "exports for other tools that the system refused in the middle: nothing was left", refused)
