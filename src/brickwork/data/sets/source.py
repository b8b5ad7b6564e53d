"""A known data set, and where on this machine it may lie."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Source:
    """A known data set. ``files`` are its paths below a data folder; none means: made on this machine.

    ``download`` is the address of an official file that :mod:`brickwork.data.sets.downloads` can turn into
    ``files``. ``task`` is what :func:`brickwork.data.load.load_task` makes of it, empty for the sets that are
    listed for later systems. ``system``: the one that reads it, where the general reader does not.
    """

    name: str
    what: str
    licence: str
    citation: str
    url: str
    files: tuple[str, ...] = ()
    task: str = ""
    download: str = ""
    sha256: str = ""
    system: str = ""

    def folder(self) -> Path | None:
        """The data folder that holds all files of this set, or ``None``."""
        for root in data_roots():
            if self.files and all((root / file).is_file() for file in self.files):
                return root
        return None

    def is_present(self) -> bool:
        """Whether the set can be read now, without a network."""
        return not self.files or self.folder() is not None

    def where(self) -> str:
        """One phrase for listings: the folder, how to get the set, or that it is made here."""
        if not self.files:
            return "made on this machine"
        root = self.folder()
        if root is not None:
            return str((root / self.files[0]).parent)
        return f"downloads from {self.download}" if self.download else f"get it from {self.url}"


def cache_folder() -> Path:
    """Where Brickwork keeps what it can make or fetch again: ``$XDG_CACHE_HOME/brickwork``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "brickwork"


def data_roots() -> list[Path]:
    """The folders that sets are looked for in, in order: ``BRICKWORK_DATA``, then the cache."""
    given = os.environ.get("BRICKWORK_DATA")
    return ([Path(given)] if given else []) + [cache_folder() / "data"]
