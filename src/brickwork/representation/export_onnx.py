"""ONNX files, with the names that other tools expect: ``input_ids`` and ``attention_mask`` (both batch × length, any size)
to ``sentence_embedding`` (batch × dim), or ``pixel_values`` (batch × channels × height × width, prepared as
``preprocessor_config.json`` says) to ``image_embedding`` (batch × dim). Both are unit vectors."""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, ConfigError, MissingExtraError
from brickwork.core.files import atomic_path, os_errors, staged_folder, write_json, write_text
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.representation.inference import float32_copy

if TYPE_CHECKING:
    from brickwork.representation.model import Representation

_TOLERANCE = 1e-4
_SAMPLES = ("a text", "another text, which is somewhat longer than the one before it", "")


_IMAGES = 3  # that an exported model is tried on


class _Cut(nn.Module):
    """The encoder after ``layers``, cut to ``dim``, then normalised: all of ``encode`` but what comes before the numbers."""

    inputs: tuple[str, ...]
    output: str

    def __init__(self, encoder: Any, dim: int, layers: int):
        super().__init__()
        self.encoder = encoder
        self.dim = dim
        self.layers = layers

    def _unit(self, vectors: Tensor) -> Tensor:
        vectors = vectors[:, : self.dim]
        return vectors / vectors.square().sum(1, keepdim=True).sqrt().clamp(min=1e-30)


class _CutText(_Cut):
    inputs = ("input_ids", "attention_mask")
    output = "sentence_embedding"

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self._unit(self.encoder.forward_padded(input_ids, attention_mask, self.layers))

    def samples(self) -> tuple[Tensor, ...]:
        """What the written model is tried on."""
        return self.encoder.tokenize(list(_SAMPLES)).padded(self.encoder.pad_id)

    def shapes(self) -> tuple[dict[int, Any], ...]:
        """Which sizes of the inputs are free."""
        batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
        filled = getattr(self.encoder.body, "filled", None) is not None  # all texts have one length
        return tuple({0: batch} if filled else {0: batch, 1: length} for _ in self.inputs)


class _CutImage(_Cut):
    inputs = ("pixel_values",)
    output = "image_embedding"

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self._unit(self.encoder(pixel_values, [self.layers])[self.layers])

    def samples(self) -> tuple[Tensor, ...]:
        """What the written model is tried on."""
        draw = np.random.default_rng(0)
        images = draw.integers(0, 256, (_IMAGES, *self.encoder.image_shape), dtype=np.uint8)
        return (self.encoder.prepare(images).contiguous(),)

    def shapes(self) -> tuple[dict[int, Any], ...]:
        """Which sizes of the inputs are free."""
        return ({0: torch.export.Dim("batch")},)


def export_onnx(
    representation: "Representation",
    path: Path | str,
    dim: int | None = None,
    layers: int | None = None,
    int8: bool = False,
) -> Path:
    """Writes the model, cut to ``dim`` and ``layers`` if given, as ONNX and returns the file, of a dual encoder the folder.

    ``path``: a file that ends in ``.onnx``, or a folder, which gets ``model.onnx`` and ``tokenizer.json`` or, for images,
    ``preprocessor_config.json``. A dual encoder takes a folder: ``text_model.onnx``, ``vision_model.onnx``, both of these,
    and in ``config.json`` the scale and bias that make logits of cosines; ``layers`` are those of its texts.
    ``int8``: weights in 8 bits (dynamic quantisation): a quarter of the size, vectors a little different.
    What was written is run once and compared with the encoder.

    Raises:
        MissingExtraError: onnx, onnxruntime or onnxscript is not installed.
        ConfigError: a size that the model does not have, or one file for a dual encoder.
        ArtifactError: a type of model that torch's exporter cannot write, or the written model gives other vectors.
        ResourceError: disk full, read-only folder.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "onnx", "the ONNX export") from error
    dim, layers = representation.size(dim, layers)
    path, encoder = Path(path), float32_copy(representation.encoder)
    if path.suffix == ".onnx":
        if encoder.kind == "image-text":
            raise ConfigError(f"{path}: a dual encoder is two files; give a folder")
        cut = _CutImage if encoder.kind == "image" else _CutText
        _write(cut(encoder, dim, layers), path, int8)
        return path
    with staged_folder(path) as place:
        if encoder.kind == "image-text":
            _write(_CutText(encoder, dim, layers), place / "text_model.onnx", int8)
            _write(_CutImage(encoder.image, dim, encoder.image.num_layers), place / "vision_model.onnx", int8)
            numbers = {"dim": dim, "logit_scale": encoder.scale, "logit_bias": encoder.bias}
            write_json(place / "config.json", numbers)
            _write_preprocessing(encoder.image, place)
        elif encoder.kind == "image":
            _write(_CutImage(encoder, dim, layers), place / "model.onnx", int8)
            _write_preprocessing(encoder, place)
        else:
            _write(_CutText(encoder, dim, layers), place / "model.onnx", int8)
        if encoder.kind != "image":
            write_text(place / "tokenizer.json", encoder.tokenizer.to_str())
    return path if encoder.kind == "image-text" else path / "model.onnx"


def _write(model: "_CutText | _CutImage", file: Path, int8: bool) -> None:
    """Writes one file, runs it and compares it with the model."""
    import onnxruntime

    samples = model.samples()
    with atomic_path(file) as temporary:
        with os_errors(file), _without_chatter():
            _export(model, samples, temporary)
            if int8:
                _quantise(temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        given = {name: sample.numpy() for name, sample in zip(model.inputs, samples)}
        output = session.run(None, given)[0]
        with torch.inference_mode():
            difference = float(np.abs(output - model(*samples).numpy()).max())
        if not int8 and not difference <= _TOLERANCE:
            raise ArtifactError(
                f"the ONNX model differs from the encoder by {difference:.1e}, more than {_TOLERANCE}; "
                "nothing was written"
            )


def _write_preprocessing(encoder: Any, folder: Path) -> None:
    """How images become ``pixel_values``, as transformers reads it."""
    if isinstance(encoder, HubImageEncoder):
        settings = encoder.preprocessing.for_transformers("CLIPImageProcessor")
    else:
        height, width, channels = encoder.image_shape
        settings = {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": height, "width": width},
            "image_mean": [0.5] * channels,
            "image_std": [0.5] * channels,
            "rescale_factor": 1 / 255,
            **dict.fromkeys(("do_resize", "do_rescale", "do_normalize"), True),
        }
    write_json(folder / "preprocessor_config.json", settings)


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


def _export(model: "_CutText | _CutImage", samples: tuple[Tensor, ...], path: Path) -> None:
    try:
        torch.onnx.export(
            model,
            samples,
            str(path),
            dynamo=True,
            input_names=list(model.inputs),
            output_names=[model.output],
            dynamic_shapes=model.shapes(),
            external_data=False,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        body = getattr(model.encoder, "body", model.encoder)
        kind = getattr(body, "arguments", {}).get("config", {}).get("model_type", body.kind)
        instead = "; export it to sentence-transformers" if isinstance(model, _CutText) else ""
        raise ArtifactError(
            f"torch {torch.__version__} cannot write a model of type '{kind}' as ONNX{instead}"
        ) from error


def _quantise(path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as place:
        small = Path(place) / "int8.onnx"
        quantize_dynamic(path, small, weight_type=QuantType.QInt8, per_channel=True)
        small.replace(path)
