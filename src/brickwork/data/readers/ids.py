"""Names of the rows of a table: the user's own, where a row has one, and else one that no other row has."""

from pathlib import Path
from typing import Any

from brickwork.data.readers.files import ReadReport, row_of, rows
from brickwork.data.readers.values import name_value


class RowIds:
    """The names of the rows of a table, in order.

    Without a column of ids a row is called by its number. With one, a row that lacks its id is called ``FILE:NUMBER``,
    made longer where another row is called so, before or after it. Ids that come twice are told in ``report``, with
    both rows.
    """

    def __init__(self, path: Path, column: str | None, report: ReadReport) -> None:
        self._path, self._column, self._report = path, column, report
        self._seen: dict[str, int] = {}
        self._given: set[str] | None = None

    def of(self, number: int, row: dict[str, Any]) -> str:
        """The name of a row."""
        if self._column is None:
            return str(number)
        where = row_of(self._path.name, number)
        name = name_value(row.get(self._column), self._report, where)
        if not name:
            return self._unused(number)
        earlier = self._seen.setdefault(name, number)
        if earlier != number:
            self._report.doubt("with the id of an earlier row", f"{where}, {name!r}, as row {earlier + 1}")
        return name

    def _unused(self, number: int) -> str:
        if self._given is None:  # read the ids of all rows once, only for tables in which some lack theirs
            assert self._column is not None
            aside = ReadReport()
            read = rows(self._path, aside, [self._column])
            self._given = {name_value(row.get(self._column), aside, "") for _, row in read}
        name = f"{self._path.name}:{number}"
        while name in self._given:
            name += "'"
        return name
