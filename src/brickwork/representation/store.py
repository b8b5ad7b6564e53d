"""A representation (an encoder and the sizes that it may be cut to) in a model folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brickwork.core.elastic import ElasticAxes
from brickwork.core.files import check_tensor_file
from brickwork.encoders.build import encoder_from_architecture
from brickwork.representation.card import render
from brickwork.representation.folder import TOKENIZER, WEIGHTS, fill, tokenizer_json, write_folder
from brickwork.representation.model import Representation


def save(representation: Representation, folder: Path) -> Path:
    """Writes the folder; an existing one keeps its other files, and its model until the new one is complete."""
    encoder = representation.encoder
    manifest = {
        "kind": encoder.kind,
        "architecture": encoder.architecture(),
        "axes": {"dims": list(representation.axes.dims), "layers": list(representation.axes.layers)},
        "lineage": representation.lineage,
        "fingerprint": representation.fingerprint,
        "card": representation.card,
    }
    tokenizer = tokenizer_json(encoder.tokenizer) if hasattr(encoder, "tokenizer") else None
    return write_folder(folder, manifest, encoder.state_dict(), tokenizer, render(representation))


def restore(manifest: dict[str, Any], files: dict[str, Path]) -> Representation:
    """The representation that a checked manifest describes: what :func:`read_folder` calls."""
    kind, architecture, axes = manifest["kind"], manifest["architecture"], manifest["axes"]
    text = files[TOKENIZER].read_text(encoding="utf-8") if TOKENIZER in files else ""
    _check_layers(architecture, len(check_tensor_file(files[WEIGHTS])))
    encoder = _build({**architecture, "kind": kind}, text)
    fill(encoder, files[WEIGHTS])
    elastic = ElasticAxes(dims=tuple(axes["dims"]), layers=tuple(axes["layers"]))
    return Representation(encoder.eval(), elastic, manifest["lineage"], manifest["card"])


def _check_layers(architecture: Mapping[str, Any], num_tensors: int) -> None:
    """A number of layers beyond the tensors there are would only cost time and memory."""
    for values in (architecture.get("arguments"), architecture.get("config")):
        for name in ("num_layers", "depth"):
            count = values.get(name) if isinstance(values, dict) else None
            if isinstance(count, int) and count > num_tensors:
                raise ValueError(f"{name}={count} with {num_tensors} tensors")


def _build(architecture: Mapping[str, Any], tokenizer: str) -> nn.Module:
    if architecture.get("body") == "hub":  # transformers' models look at their weights while they are built
        return encoder_from_architecture(architecture, tokenizer)
    # Without memory at first: shapes are compared before anything is allocated.
    with torch.device("meta"):
        return encoder_from_architecture(architecture, tokenizer)
