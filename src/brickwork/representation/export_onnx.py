"""An ONNX file: ``input_ids`` and ``attention_mask`` (both batch × length, any size) to
``sentence_embedding`` (batch × dim), the names that other tools expect."""

import contextlib
import copy
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, MissingExtraError
from brickwork.core.files import atomic_path, os_errors, write_text

if TYPE_CHECKING:
    from brickwork.representation.model import Representation

_TOLERANCE = 1e-4
_SAMPLES = ("a text", "another text, which is somewhat longer than the one before it", "")


class _Cut(nn.Module):
    """The encoder after ``layers``, cut to ``dim``, then normalised: all of ``encode`` but the tokenizer."""

    def __init__(self, encoder: Any, dim: int, layers: int):
        super().__init__()
        self.encoder = encoder
        self.dim = dim
        self.layers = layers

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors = self.encoder.forward_padded(input_ids, attention_mask, self.layers)[:, : self.dim]
        return vectors / vectors.square().sum(1, keepdim=True).sqrt().clamp(min=1e-30)


def export_onnx(
    representation: "Representation",
    path: Path | str,
    dim: int | None = None,
    layers: int | None = None,
    int8: bool = False,
) -> Path:
    """Writes the model, cut to ``dim`` and ``layers`` if given, as ONNX and returns the file.

    ``path``: a file that ends in ``.onnx``, or a folder, which gets ``model.onnx`` and ``tokenizer.json``.
    ``int8``: weights in 8 bits (dynamic quantisation): a quarter of the size, vectors a little different.
    What was written is run once and compared with the encoder.

    Raises:
        MissingExtraError: onnx, onnxruntime or onnxscript is not installed.
        ConfigError: a size that the model does not have.
        ArtifactError: an image encoder, a type of model that torch's exporter cannot write, or the written model gives
            other vectors.
        ResourceError: disk full, read-only folder.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "onnx", "the ONNX export") from error
    dim, layers = representation.size(dim, layers)
    if representation.encoder.kind != "text":
        raise ArtifactError(
            f"an encoder of kind '{representation.encoder.kind}' cannot be exported to ONNX yet"
        )
    path = Path(path)
    file = path if path.suffix == ".onnx" else path / "model.onnx"
    encoder = _float32_copy(representation.encoder)
    model = _Cut(encoder, dim, layers)
    samples = encoder.tokenize(list(_SAMPLES)).padded(encoder.pad_id)
    with atomic_path(file) as temporary:
        with os_errors(file), _without_chatter():
            _export(model, samples, temporary)
            if int8:
                _quantise(temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        output = session.run(None, {"input_ids": samples[0].numpy(), "attention_mask": samples[1].numpy()})[0]
        with torch.inference_mode():
            difference = float(np.abs(output - model(*samples).numpy()).max())
        if not int8 and not difference <= _TOLERANCE:
            raise ArtifactError(
                f"the ONNX model differs from the encoder by {difference:.1e}, more than {_TOLERANCE}; "
                "nothing was written"
            )
    if file != path:
        write_text(file.parent / "tokenizer.json", encoder.tokenizer.to_str())
    return file


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """The exporter warns of packages that it could use and this model does not need."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _float32_copy(encoder: Any) -> Any:
    memo = {id(encoder.tokenizer): encoder.tokenizer}
    return copy.deepcopy(encoder, memo).float().cpu().eval()


def _export(model: _Cut, samples: tuple[Tensor, Tensor], path: Path) -> None:
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    try:
        torch.onnx.export(
            model,
            samples,
            str(path),
            dynamo=True,
            input_names=["input_ids", "attention_mask"],
            output_names=["sentence_embedding"],
            dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}),
            external_data=False,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        kind = model.encoder.body.arguments.get("config", {}).get("model_type", model.encoder.body.kind)
        raise ArtifactError(
            f"torch {torch.__version__} cannot write a model of type '{kind}' as ONNX; export it to sentence-transformers"
        ) from error


def _quantise(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as place:
        small = Path(place) / "int8.onnx"
        quantize_dynamic(path, small, weight_type=QuantType.QInt8, per_channel=True)
        small.replace(path)
