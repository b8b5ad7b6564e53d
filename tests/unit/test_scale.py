"""docs/scale.md says what docs/scale.py computes, and that is what one gets by hand."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "scale.py"


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("scale", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scale"]


@pytest.fixture
def inputs(scale):
    """Round numbers, with which a table can be checked in the head."""
    return scale.Inputs(
        cpu_rate=100, cpu_rate_early=200, gpu_rate=10_000, sharing=1, cpu_cores=10, cpu_memory=100,
        cpu_price=1, gpu_price=3.6, disk_price=0.1, read_rate=1, disk_rate=1, memory_share=0.5, hours_wanted=100,
    )  # fmt: skip


def row(table, name):
    """The cells of the row that begins with ``name``."""
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_page_is_what_the_script_computes(scale):
    page = scale.PAGE.read_text(encoding="utf-8")
    assert page == scale.filled(page, scale.Inputs()), "run: python docs/scale.py --write"


def test_sizes(scale, inputs):
    table = scale.sizes_table(inputs)
    assert row(table, "384 dims, float32") == ["1.54 GB", "154 GB", "15.4 TB"]  # 10⁶ × 384 × 4 bytes
    assert row(table, "96 dims, int8") == ["96 MB", "9.6 GB", "960 GB"]
    assert row(table, "48 dims, bit") == ["6 MB", "600 MB", "60 GB"]
    assert row(table, "links of an HNSW graph") == ["256 MB", "25.6 GB", "2.56 TB"]  # 2 × 32 × 4 bytes


def test_encoding(scale, inputs):
    """10¹⁰ documents at 1,000 a second and machine are 2,778 hours: 28 machines for 100 hours."""
    table = scale.encode_table(inputs)
    assert row(table, "CPU, all 6 layers") == ["1 × 0.28 h, $0.28", "1 × 28 h, $28", "28 × 99 h, $2,800"]
    assert row(table, "CPU, 3 layers")[2] == "14 × 99 h, $1,400"
    assert row(table, "GPU, all 6 layers")[2] == "3 × 93 h, $1,000"


def test_searching(scale, inputs):
    """A machine holds 50 GB and reads 10 GB a second; 15,360 GB are 308 machines, each with 49.9 GB."""
    table = scale.search_table(inputs)
    exact = row(table, "exact, 384 dims, float32")
    assert exact[0] == "1.54 GB, 1, 150 ms, $730"
    assert exact[2].startswith("15.4 TB, 310, 5,000 ms")
    assert row(table, "shortlist of 48 dims, int8, IVF")[1:] == [
        "4.8 GB, 1, 4.8 ms, $730",
        "480 GB, 10, 48 ms, $7,300",
    ]


def test_savings_and_rebuilding(scale, inputs):
    saved = row(scale.saved_table(inputs), "100 M")  # 154 GB × 0.1 dollars are 15 a month
    assert saved[:3] == ["154 GB → 4.8 GB", "4 → 1", "$2,900 → $750"]
    assert row(scale.rebuild_table(inputs), "100 M")[2] == "154 GB read, 0.043 machine-hours, $0.043"
    dearer = replace(inputs, cpu_price=2)
    assert row(scale.rebuild_table(dearer), "100 M")[0] == "$56"
    assert row(scale.rebuild_table(inputs), "100 M")[0] == "$28"


def test_every_input_counts(scale):
    """No input could be left out: twice of each changes a table other than that of the inputs."""
    names = [name for name in scale.TABLES if name != "inputs"]
    before = [scale.TABLES[name](scale.Inputs()) for name in names]
    for field in scale.fields(scale.Inputs):
        value = getattr(scale.Inputs(), field.name)
        changed = replace(scale.Inputs(), **{field.name: 2 * value})
        assert [scale.TABLES[name](changed) for name in names] != before, field.name
