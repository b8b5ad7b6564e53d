"""Logs as JSON lines on standard error: what happened, never what was in it.

No text, query, filter or key is written. Of an unexpected error the type and the places in the code are, not its
message, which might quote what it stumbled over.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("brickwork.service")


class JsonLines(logging.Formatter):
    """One JSON object a record; ``extra={"fields": {...}}`` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
        return json.dumps(line, ensure_ascii=False)


def configure(*, quiet: bool) -> None:
    """Sends our lines and uvicorn's to standard error; ``quiet`` keeps warnings and errors only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in ("brickwork.service", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        # uvicorn's own messages about starting and stopping only repeat ours.
        logger.setLevel(logging.WARNING if quiet or name.startswith("uvicorn") else logging.INFO)


def log(event: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Writes one line."""
    LOGGER.log(level, event, extra={"fields": fields}, exc_info=error)
