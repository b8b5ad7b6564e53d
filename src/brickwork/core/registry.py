"""Which systems there are, without importing them.

A system is a folder of ``brickwork.systems`` whose ``__init__`` holds a ``CARD`` and imports nothing heavy.
Being there is being registered.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SystemCard:
    """What a system is, for the catalogue.

    ``jobs``: what it is good for, as pairs (what a user has, what it makes of that); ``capabilities``: the commands of the
    command line that it knows, and what it reads.
    """

    slug: str
    title: str
    authors: str
    year: int
    arxiv: str
    group: str
    summary: str
    capabilities: tuple[str, ...]
    jobs: tuple[tuple[str, str], ...] = ()


def slugs() -> list[str]:
    """The slugs of all systems, sorted."""
    package = importlib.import_module("brickwork.systems")
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(package.__path__) if m.ispkg)


def _folder(slug: str) -> str:
    if slug not in slugs():
        raise ConfigError(f"unknown system '{slug}': {nearest(slug, slugs())}")
    return f"brickwork.systems.{slug.replace('-', '_')}"


def slug_of(cls: type) -> str:
    """The slug of the system in whose folder a class is.

    Raises:
        ConfigError: it is in none.
    """
    package, _, rest = cls.__module__.partition(".systems.")
    if package != "brickwork" or not rest:
        raise ConfigError(f"{cls.__module__}.{cls.__name__} is in no system's folder; name the system")
    return rest.partition(".")[0].replace("_", "-")


def card(slug: str) -> SystemCard:
    """The catalogue card of a system."""
    return importlib.import_module(_folder(slug)).CARD


def able(verb: str) -> list[str]:
    """The systems whose cards say that they do something, like ``generates``; one that does it for some data only, which
    says ``generates molecules``, as ``cmim (molecules)``.
    """
    found = []
    for slug in slugs():
        for capability in card(slug).capabilities:
            does, _, what = capability.partition(" ")
            if does == verb:
                found.append(f"{slug} ({what})" if what else slug)
    return found


def successor_hint(old: str) -> str:
    """The command that trains a model whose vectors can be compared with those of ``old``."""
    return f"brickwork train {' or '.join(able('succeeds'))} --set model.previous={old}"


def load(slug: str, part: Literal["system", "recipes"]) -> ModuleType:
    """One of a system's modules, imported now."""
    return importlib.import_module(f"{_folder(slug)}.{part}")
