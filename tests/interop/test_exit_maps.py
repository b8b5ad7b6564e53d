"""Encoders with a map behind each exit, in ONNX and in sentence-transformers: the vectors of encode at every depth."""

import pytest
import torch
from numpy.testing import assert_allclose

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError
from brickwork.representation.export_onnx import export_onnx
from brickwork.representation.export_sentence_transformers import export_sentence_transformers
from brickwork.representation.model import Representation

from .conftest import TEXTS, tiny

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::brickwork.core.errors.BrickworkWarning"),
]


@pytest.fixture(scope="module", params=["mean", "cls projected"])
def mapped(request):
    options = {"pooling": "cls", "projection": 40} if request.param != "mean" else {}
    encoder = tiny(**options).encoder
    torch.manual_seed(0)
    encoder.add_exits((0, 1, 3))
    axes = ElasticAxes(dims=(8, encoder.embedding_dim), layers=(0, 1, 3))
    return Representation(encoder.eval(), axes)


@pytest.mark.parametrize(
    ("mapped", "dim", "layers"), [("mean", 8, 1), ("cls projected", None, 3)], indirect=["mapped"]
)
def test_onnx_holds_any_depth(mapped, tmp_path, dim, layers):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    file = export_onnx(mapped, tmp_path / "model.onnx", dim=dim, layers=layers)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    ids, mask = mapped.encoder.tokenize(TEXTS).padded(mapped.encoder.pad_id)
    results = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
    assert_allclose(results, mapped.encode(TEXTS, dim=dim, layers=layers, precision="fp32"), atol=1e-4)


@pytest.mark.parametrize(("dim", "layers"), [(None, None), (8, 3), (None, 0), (8, 0)])
def test_a_sentence_transformer_holds_full_depth_or_depth_0(mapped, tmp_path, dim, layers):
    library = pytest.importorskip("sentence_transformers")
    folder = export_sentence_transformers(mapped, tmp_path / "st", dim=dim, layers=layers)
    model = library.SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    results = model.encode(TEXTS, show_progress_bar=False)
    assert_allclose(results, mapped.encode(TEXTS, dim=dim, layers=layers, precision="fp32"), atol=1e-5)


def test_what_a_sentence_transformer_cannot_hold_is_said(mapped, tmp_path):
    with pytest.raises(
        ArtifactError, match=r"map behind layer 1 takes the states of two depths.*export to ONNX"
    ):
        export_sentence_transformers(mapped, tmp_path / "st", layers=1)
    assert not (tmp_path / "st").exists()
