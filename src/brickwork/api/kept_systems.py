"""A system that was kept whole, for what a command asks of it."""

from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

from brickwork.core import registry
from brickwork.core.config import nearest, value_as
from brickwork.core.errors import ArtifactError, ConfigError


def checked_options(model: "Path | str | Any", method: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a system's own method, each as the kind of value that its parameter is; it takes those of its
    parameters that have a default.

    Raises:
        ConfigError: an option that it does not take, or a value of another kind.
    """
    takes = {name: p for name, p in signature(method).parameters.items() if p.default is not p.empty}
    for name, value in options.items():
        if name not in takes:
            instead = nearest(name, takes) if takes else "it takes none"
            raise ConfigError(
                f"{name}={value!r} is no option of the model in {model}: {instead}; leave it out"
            )
    return {name: value_as(takes[name].annotation, value, name) for name, value in options.items()}


def system_that(
    model: "Path | str | Any", protocol: type, verb: str, does: str, *, name: "Path | str" = ""
) -> Any:
    """The system in ``model``, which has to do what ``protocol`` says: ``verb`` in words, ``does`` on cards. ``name``: what
    the user calls it."""
    from brickwork.representation.load import load

    system = load(model) if isinstance(model, str | Path) else model
    if not isinstance(system, protocol):
        kind = getattr(system, "slug", "") or "an encoder"
        raise ArtifactError(
            f"{name or model} is {kind}, which cannot {verb}; systems that can: {', '.join(registry.able(does)) or 'none'}"
        )
    return system
