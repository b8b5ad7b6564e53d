"""Causal language models by name: those that :mod:`brickwork.encoders.causal_lm` reads, and those inside runs of ours."""

from pathlib import Path
from typing import Any

from torch import nn

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.types import CausalLM
from brickwork.encoders.causal_lm import load_causal_lm
from brickwork.modules.adapters import LoraAdapters

_PARTS = ("decoder", "encoder", "model", "lm")


def load_language_model(name: str, revision: str | None = None, *, option: str = "model.base") -> Any:
    """The language model called ``name`` (a :class:`~brickwork.core.types.CausalLM`): ``smollm2-135m``, a folder of
    transformers, a hub id at ``revision``, or the run folder of a language model of ours. ``option``: who asks, for errors.

    Raises:
        ArtifactError: it is missing, damaged, unsafe, or no causal language model.
        ConfigError: a revision of what has none.
    """
    folder = Path(name).expanduser()
    if not (folder / "brickwork.json").is_file():
        return load_causal_lm(name, revision).eval()
    if revision is not None:
        raise ConfigError(f"revision has no effect with the run folder '{name}'; leave it out")
    from brickwork.representation.load import load

    return language_model_in(load(folder), name, option).eval()


def language_model_in(system: Any, name: str, option: str) -> Any:
    """The language model in the system of the run called ``name``; adapters are merged into it at full rank, for good.

    Raises:
        ArtifactError: there is none.
    """
    if isinstance(adapters := getattr(system, "adapters", None), LoraAdapters):
        adapters.merge_().unload_()
    parts = (getattr(system, part, None) for part in _PARTS)
    inner = next((part for part in parts if isinstance(part, nn.Module) and isinstance(part, CausalLM)), None)
    if inner is None:
        raise ArtifactError(
            f"{option}={name} is a run of {getattr(system, 'slug', 'an encoder')}, which is no language model that can be "
            "looked into; give one, or smollm2-135m, a folder of transformers or a hub id"
        )
    return inner
