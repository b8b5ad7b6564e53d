"""The ONNX file, run by onnxruntime, gives the vectors of encode to 1e-4."""

import builtins

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from brickwork.core.errors import ArtifactError, MissingExtraError
from brickwork.representation.export_onnx import export_onnx

from .conftest import TEXTS

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning")


def run(file, encoder, texts) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    ids, mask = encoder.tokenize(texts).padded(encoder.pad_id)
    return session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]


@pytest.mark.parametrize(
    ("any_tiny", "dim", "layers"),
    [("post", 8, 1), ("pre", None, 2), ("static", 8, None), ("projected", 8, 1)],
    indirect=["any_tiny"],
)
def test_the_vectors_are_those_of_encode(any_tiny, tmp_path, dim, layers):
    file = export_onnx(any_tiny, tmp_path / "model.onnx", dim=dim, layers=layers)
    expected = any_tiny.encode(TEXTS, dim=dim, layers=layers, precision="fp32")
    # Other numbers of texts and tokens than those it was traced with.
    assert_allclose(run(file, any_tiny.encoder, TEXTS), expected, atol=1e-4)
    assert_allclose(run(file, any_tiny.encoder, TEXTS[2:3]), expected[2:3], atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_a_model_that_reads_from_left_to_right(tmp_path):
    from brickwork.representation.load import load_representation

    from .pretrained_text import NAMED, write

    write(NAMED["qwen3-embedding"], tmp_path / "st")
    model = load_representation(tmp_path / "st")
    file = export_onnx(model, tmp_path / "model.onnx", dim=8, layers=2)
    texts = [text for text in TEXTS if text]  # padded to the longest: the last token is not in the last place
    expected = model.encode(texts, dim=8, layers=2, precision="fp32")
    assert_allclose(run(file, model.encoder, texts), expected, atol=1e-4)


@pytest.mark.parametrize("any_tiny", ["post"], indirect=True)
def test_a_type_of_model_that_torch_cannot_write(any_tiny, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise torch.onnx.OnnxExporterError("no")

    monkeypatch.setattr("torch.onnx.export", fails)
    with pytest.raises(
        ArtifactError, match=r"cannot write a model of type '\w+' as ONNX; export it to sentence"
    ):
        export_onnx(any_tiny, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_minilm_in_a_folder_in_8_bits(minilm, tmp_path):
    file = export_onnx(minilm, tmp_path / "out", dim=96, layers=1, int8=True)
    assert sorted(item.name for item in file.parent.iterdir()) == ["model.onnx", "tokenizer.json"]
    expected = minilm.encode(TEXTS, dim=96, layers=1, precision="fp32")
    results = run(file, minilm.encoder, TEXTS)
    assert (results * expected).sum(1).min() > 0.97
    assert np.abs(results - expected).max() > 1e-5  # it is in 8 bits
    # 12.1 million weights of the embeddings and one layer: 4 bytes each would be 54 MB.
    assert file.stat().st_size < 20e6


@pytest.mark.parametrize("any_tiny", ["static"], indirect=True)
def test_a_model_that_came_out_different_is_not_written(any_tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("brickwork.representation.export_onnx._TOLERANCE", -1.0)
    with pytest.raises(ArtifactError, match="differs from the encoder"):
        export_onnx(any_tiny, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_install_line_is_told(minilm, tmp_path, monkeypatch):
    real = builtins.__import__

    def absent(name, *rest):
        if name == "onnxscript":
            raise ImportError("no", name="onnxscript")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(MissingExtraError, match=r"pip install 'brickwork\[onnx\]'"):
        export_onnx(minilm, tmp_path / "model.onnx")
