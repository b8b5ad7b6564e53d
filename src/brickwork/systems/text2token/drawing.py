"""Pictures."""

from typing import Any


def drawings(system: Any, examples: Any) -> list[Any]:
    return []
