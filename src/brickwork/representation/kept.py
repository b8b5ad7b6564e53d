"""A whole system in a model folder: what every training leaves.

The system says what it is made of (``architecture()``, JSON values) and is rebuilt from that
(:func:`brickwork.representation.contract.restore_system`); the weights come from safetensors. No code comes from the
folder: a slug that is not in the catalogue is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from brickwork.core import registry
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError
from brickwork.core.files import check_tensor_file
from brickwork.core.types import Analyses, Encodes, Generates, Predicts, Recommends, Traces
from brickwork.representation import contract
from brickwork.representation.card import render, render_system
from brickwork.representation.folder import (
    TOKENIZER,
    WEIGHTS,
    fill,
    fingerprint,
    items,
    needs_memory,
    tokenizer_json,
    write_folder,
)
from brickwork.representation.model import Representation


class SystemRepresentation(Representation):
    """Vectors of a system that is saved whole: its encoder cannot be built again without it.

    ``encoder``, ``axes``: default those of the system, at one size and depth.
    """

    def __init__(self, system: Any, encoder: Any = None, axes: ElasticAxes | None = None):
        encoder = system.encoder if encoder is None else encoder
        only = ElasticAxes(dims=(encoder.embedding_dim,), layers=(encoder.num_layers,))
        lineage = {"system": system.slug, **getattr(system, "lineage", {})}
        card, prompts = getattr(system, "card", {}), getattr(encoder, "prompts", None)
        super().__init__(encoder, only if axes is None else axes, lineage, card, prompts)
        self.system = system

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with any weight of the encoder, or with what the system is made of."""
        tokenizer = _tokenizer(self.system)
        text = None if tokenizer is None else tokenizer_json(tokenizer)
        return fingerprint(self.system.architecture(), text, self.encoder.state_dict())

    def save(self, folder: Path | str) -> Path:
        """Writes the whole system, and its card."""
        return save_system(self.system, folder)


def save_system(system: Any, folder: Path | str, card: Mapping[str, Any] | None = None) -> Path:
    """Writes a system that the house has built or restored; its own ``card`` is the default.

    ``system.transient`` names the parts that only training needs: they are left out, and a restored system lacks them.

    Raises:
        ResourceError: disk full, read-only folder.
    """
    tokenizer = _tokenizer(system)
    text = tokenizer_json(tokenizer) if tokenizer is not None else None
    architecture, state = system.architecture(), system.state_dict()
    transient = getattr(system, "transient", ())
    state = {name: value for name, value in state.items() if name.partition(".")[0] not in transient}
    about = dict(getattr(system, "card", {}) if card is None else card)
    manifest = {
        "kind": "system",
        "system": system.slug,
        "architecture": architecture,
        "lineage": {"system": system.slug, **getattr(system, "lineage", {})},
        "fingerprint": fingerprint(architecture, text, state),
        "card": about,
    }
    if only_encodes(system):
        representation = system.representation()
        representation.card = about
        readme = render(representation)
    else:
        readme = render_system(system.slug, about)
    return write_folder(Path(folder), manifest, state, text, readme)


def _tokenizer(system: Any) -> Any:
    own = getattr(system, "tokenizer", None)
    return own if own is not None else getattr(getattr(system, "encoder", None), "tokenizer", None)


def only_encodes(system: Any) -> bool:
    """Whether its vectors are all that a user can have of a system."""
    others = (Predicts, Generates, Recommends, Analyses, Traces)
    return isinstance(system, Encodes) and not isinstance(system, others)


def restore_system(manifest: Mapping[str, Any], files: Mapping[str, Path]) -> nn.Module:
    """The system that a checked manifest describes, in evaluation mode; its ``card`` is what was recorded.

    Raises:
        ArtifactError: it is of a system that this installation does not have, or the weights do not fit.
    """
    slug, architecture = manifest.get("system"), manifest["architecture"]
    if slug not in registry.slugs():
        raise ArtifactError(f"the model is of the system {slug!r}, which this Brickwork does not have; known: "
                            f"{', '.join(registry.slugs())}")  # fmt: skip
    _check_counts(architecture, len(check_tensor_file(files[WEIGHTS])))
    tokenizer = files[TOKENIZER].read_text(encoding="utf-8") if TOKENIZER in files else None
    if needs_memory(architecture):
        system = contract.restore_system(slug, architecture, tokenizer)
    else:
        with torch.device("meta"):
            system = contract.restore_system(slug, architecture, tokenizer)
    fill(system, files[WEIGHTS])
    system.card = dict(manifest["card"])
    system.lineage = {name: value for name, value in manifest["lineage"].items() if name != "system"}
    return system.eval()


def _check_counts(value: Any, num_tensors: int) -> None:
    """A number of layers or modules beyond the tensors there are would only cost time and memory."""
    for name, item in items(value):
        if name in ("num_layers", "depth") and isinstance(item, int) and item > num_tensors:
            raise ValueError(f"{name}={item} with {num_tensors} tensors")
