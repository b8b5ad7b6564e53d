"""An encoder, and the sizes that it may be cut to, in a model folder of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brickwork.core.files import check_tensor_file
from brickwork.representation.card import Described, render
from brickwork.representation.folder import (
    TOKENIZER,
    WEIGHTS,
    fill,
    fingerprint,
    needs_memory,
    tokenizer_json,
    write_folder,
)
from brickwork.representation.rebuilt import rebuilt_encoder


def save(representation: Described, folder: Path) -> Path:
    """Writes the folder; an existing one keeps its other files, and its model until the new one is complete."""
    encoder = representation.encoder
    architecture, state = encoder.architecture(), encoder.state_dict()
    tokenizer = tokenizer_json(encoder.tokenizer) if hasattr(encoder, "tokenizer") else None
    manifest = {
        "kind": encoder.kind,
        "architecture": architecture,
        "axes": {"dims": list(representation.axes.dims), "layers": list(representation.axes.layers)},
        "lineage": representation.lineage,
        "fingerprint": fingerprint({**architecture, **representation.prompts.to_dict()}, tokenizer, state),
        "card": representation.card,
        **representation.prompts.to_dict(),
    }
    return write_folder(folder, manifest, state, tokenizer, render(representation))


def restore_encoder(manifest: Mapping[str, Any], files: Mapping[str, Path]) -> nn.Module:
    """The encoder that a checked manifest describes, in evaluation mode."""
    kind, architecture = manifest["kind"], manifest["architecture"]
    text = files[TOKENIZER].read_text(encoding="utf-8") if TOKENIZER in files else ""
    _check_layers(architecture, len(check_tensor_file(files[WEIGHTS])))
    encoder = _build({**architecture, "kind": kind}, text)
    fill(encoder, files[WEIGHTS])
    return encoder.eval()


def _check_layers(architecture: Mapping[str, Any], num_tensors: int) -> None:
    """A number of layers beyond the tensors there are would only cost time and memory."""
    for values in (architecture.get("arguments"), architecture.get("config")):
        for name in ("num_layers", "depth"):
            count = values.get(name) if isinstance(values, dict) else None
            if isinstance(count, int) and count > num_tensors:
                raise ValueError(f"{name}={count} with {num_tensors} tensors")


def _build(architecture: Mapping[str, Any], tokenizer: str) -> nn.Module:
    if needs_memory(architecture):
        return rebuilt_encoder(architecture, tokenizer)
    # Without memory at first: shapes are compared before anything is allocated.
    with torch.device("meta"):
        return rebuilt_encoder(architecture, tokenizer)
