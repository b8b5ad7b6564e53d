"""What the battery has to know of multimodn."""

from dataclasses import replace

from brickwork.api import train as api
from brickwork.systems.multimodn.data import MissingConfig, TableConfig
from brickwork.training.run import RunConfig

_table = "of the user's own tables, refused with known sets; tests/systems/test_multimodn.py, test_multimodn_typed_tables.py"
UNTESTED = {
    "data.table.modalities": _table,
    "data.table.ignore": _table,
    "data.table.time": _table,
    "data.image_size": _table,
}
CANDIDATES = {
    "order": [("scan", "monitor", "note", "person", "vitals")],
    "data.table.targets": [("sick",)],
    "data.table.missing.modality": ["scan"],
    "data.table.missing.driver": ["person"],
    "data.table.missing.rate": [0.2],
    "data.table.missing.label": [0],
}


def runs() -> list[RunConfig]:
    """Values that are missing by the label, or by another value."""
    run = api.recipe("multimodn", "smoke")
    by = {"mnar": {"label": 1}, "mar": {"driver": "vitals"}}
    return [
        replace(
            run,
            data=replace(
                run.data,
                limit=200,
                table=TableConfig(missing=MissingConfig(modality="note", mechanism=mechanism, **options)),
            ),
        )
        for mechanism, options in by.items()
    ]
