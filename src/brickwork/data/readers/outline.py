"""Sections of a document: texts under their paths of headings."""

from dataclasses import dataclass

SEPARATOR = " › "
MAX_TITLE = 300


@dataclass(frozen=True)
class Section:
    """A text under its path of headings, outermost first; the path is empty where there are none."""

    path: tuple[str, ...]
    text: str

    @property
    def title(self) -> str:
        """The headings as one line."""
        return SEPARATOR.join(self.path)


class Outline:
    """Collects lines under headings; a heading closes those of its level and deeper."""

    def __init__(self) -> None:
        self.sections: list[Section] = []
        self._path: list[tuple[int, str]] = []
        self._lines: list[str] = []

    def add(self, line: str) -> None:
        """One more line, or several, of the section that is open."""
        self._lines.append(line)

    def heading(self, level: int, title: str) -> None:
        """Opens a section of a ``level``, 1 for the outermost."""
        self.close()
        self._path = [entry for entry in self._path if entry[0] < level] + [(level, title)]

    def close(self) -> list[Section]:
        """All sections that have a text."""
        text = "\n".join(self._lines)
        self._lines = []
        if text.strip():
            self.sections.append(Section(tuple(title for _, title in self._path), text.strip("\n").rstrip()))
        return self.sections
