"""What the battery has to know of multimodn."""

import csv

from brickwork.systems.multimodn.data import Data, MissingConfig, TableConfig
from brickwork.systems.multimodn.sets import toy_columns

UNTESTED = {
    "frozen_text.max_tokens": "of a pretrained encoder; tests/systems/test_multimodn_pretrained.py",
}
CANDIDATES = {
    "order": [("scan", "monitor", "note", "person", "vitals")],
    "data.table.modalities": [("vitals=vitals_pulse|vitals_pressure", "person=person_*")],
    "data.table.targets": [("days",)],
    "data.table.ignore": [("vitals_oxygen",)],
    "data.table.time": ["days"],
    "data.table.keep": [("patient_id",)],
    "data.table.na_values": [("1",)],
    "data.table.missing.modality": ["person", ""],
    "data.table.missing.driver": ["person"],
    "data.table.missing.rate": [0.1],
    "data.table.missing.label": [0],
}


def data(folder):
    """A user's table, complete and with a modality that goes missing in each of the three ways."""
    columns = toy_columns(120, 0)
    names = [name for name in columns if name.startswith(("vitals", "person", "sick", "days"))]
    path = folder / "ward.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["patient_id", *names])
        writer.writerows(zip(range(120), *(columns[name] for name in names), strict=True))
    ways = [MissingConfig()]
    ways += [
        MissingConfig(modality="vitals", **more)
        for more in ({}, {"mechanism": "mnar"}, {"mechanism": "mar", "driver": "vitals"})
    ]
    return [Data(source=str(path), table=TableConfig(targets=("sick",), missing=way)) for way in ways]
