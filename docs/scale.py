"""The tables of docs/scale.md, from the inputs below: ``python docs/scale.py`` prints them, ``--write`` puts them there.

``--set cpu_price=0.35`` changes an input, for prices and machines of your own. What is measured is read from
benchmarks/results; everything else is an assumption, and says so. Units: 1 GB = 10⁹ bytes, money in US dollars.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from brickwork.core.config import override

PAGE = Path(__file__).with_name("scale.md")
ENCODE = Path(__file__).parents[1] / "benchmarks" / "results" / "encode.json"
SIZES = {"1 M": 10**6, "100 M": 10**8, "10 B": 10**10}
BYTES = {"float32": 4.0, "float16 (halfvec)": 2.0, "int8": 1.0, "bit": 1 / 8}
DIMS = (384, 96, 48)
MONTH_HOURS = 730


def measured_rate(arm: str) -> float:
    """Documents per second and core, of MiniLM on documents of 157 tokens."""
    found = json.loads(ENCODE.read_text(encoding="utf-8"))
    return found["arms"][arm]["documents_per_second"] / found["threads"]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the tables are computed from. Prices are list-price guesses of November 2026: replace them."""

    text_bytes: float = 1_000  # bytes of a document, a passage of about 157 tokens. Assumed
    cpu_rate: float = measured_rate("brickwork")  # documents/s and core, all layers. Measured
    cpu_rate_early: float = measured_rate("brickwork 3 layers 96 dims")  # the same, 3 of 6 layers. Measured
    gpu_rate: float = 10_000  # documents/s and GPU, all layers. Assumed, not measured: see below
    sharing: float = 0.9  # what is left of these rates when many workers share a job. Assumed
    cpu_cores: int = 16  # of a machine that encodes or searches. Assumed
    cpu_memory: float = 128  # GB of memory of such a machine. Assumed
    cpu_price: float = 0.80  # dollars an hour for it. Assumed, November 2026
    gpu_price: float = 3.50  # dollars an hour for a machine with one GPU. Assumed, November 2026
    disk_price: float = 0.08  # dollars a GB and month on SSD. Assumed, November 2026
    read_rate: float = 4.0  # GB/s and core of vectors in memory. Assumed: see below
    disk_rate: float = 2.0  # GB/s that a machine reads from SSD, one file after the other. Assumed
    fetch_ms: float = 0.1  # milliseconds to read one vector somewhere on an SSD. Assumed
    fetched_at_once: int = 32  # such reads under way together. Assumed
    memory_share: float = 0.7  # of a machine's memory that vectors may fill. Assumed
    keep: int = 400  # candidates of the shortlist that are ranked by all 384 dimensions. Chosen
    probed: float = 0.01  # share of a shortlist that IVF reads. Chosen
    links: int = 32  # M of an HNSW graph; it keeps 2·M links of 4 bytes a vector. Chosen
    hours_wanted: float = 24.0  # hours for a whole encode. Chosen


def vector_bytes(dim: int, kind: str) -> float:
    """Bytes of one vector."""
    return dim * BYTES[kind]


def encode_hours(documents: float, rate: float, places: int, inputs: Inputs) -> float:
    """Hours for ``documents`` on machines with ``places`` cores or GPUs in all."""
    return documents / (rate * places * inputs.sharing) / 3600


def machines_for_memory(size: float, inputs: Inputs) -> int:
    """Machines whose memory holds ``size`` GB."""
    return max(1, math.ceil(size / (inputs.cpu_memory * inputs.memory_share)))


def scan_ms(size: float, machines: int, inputs: Inputs) -> float:
    """Milliseconds for one query that reads ``size`` GB, spread over the cores of ``machines``."""
    return size / (inputs.read_rate * inputs.cpu_cores * machines) * 1000


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def gigabytes(size: float) -> str:
    """A size in words, from GB."""
    for unit, scale in (("PB", 1e6), ("TB", 1e3), ("GB", 1.0), ("MB", 1e-3)):
        if size >= scale * 0.9995 or unit == "MB":
            return f"{size / scale:,.3g} {unit}"
    raise AssertionError


def number(value: float) -> str:
    """Two digits that count, with commas."""
    if value >= 100:
        return f"{round(value, 1 - int(math.log10(value))):,.0f}"
    return f"{value:.2g}"


def milliseconds(value: float) -> str:
    """A time of a query; below a tenth of a millisecond other things than reading decide."""
    return "< 0.1 ms" if value < 0.1 else f"{number(value)} ms"


def sizes_table(inputs: Inputs) -> str:
    """What is stored."""
    rows = [["text", *(gigabytes(n * inputs.text_bytes / 1e9) for n in SIZES.values())]]
    for dim in DIMS:
        for kind in BYTES:
            cells = (gigabytes(n * vector_bytes(dim, kind) / 1e9) for n in SIZES.values())
            rows.append([f"{dim} dims, {kind}", *cells])
    graph = (gigabytes(n * 2 * inputs.links * 4 / 1e9) for n in SIZES.values())
    return table(["stored", *SIZES], [*rows, ["links of an HNSW graph", *graph]])


def encode_table(inputs: Inputs) -> str:
    """Encoding once: machines for the wanted time, hours on them, money."""
    ways: list[tuple[str, float, int, float]] = [
        ("CPU, all 6 layers", inputs.cpu_rate, inputs.cpu_cores, inputs.cpu_price),
        ("CPU, 3 layers", inputs.cpu_rate_early, inputs.cpu_cores, inputs.cpu_price),
        ("GPU, all 6 layers", inputs.gpu_rate, 1, inputs.gpu_price),
    ]
    rows = []
    for name, rate, places, price in ways:
        cells = []
        for documents in SIZES.values():
            alone = encode_hours(documents, rate, places, inputs)
            machines = max(1, math.ceil(alone / inputs.hours_wanted))
            cells.append(
                f"{number(machines)} × {number(alone / machines)} h, ${number(max(0.01, alone * price))}"
            )
        rows.append([name, *cells])
    return table(["machines × hours, money", *SIZES], rows)


def search_table(inputs: Inputs) -> str:
    """One query: what it reads, on how many machines, for how long, and what those cost."""
    ways: list[tuple[str, Callable[[float], float], float]] = [
        ("exact, 384 dims, float32", lambda n: n * vector_bytes(384, "float32"), 1.0),
        ("shortlist of 48 dims, float32", lambda n: n * vector_bytes(48, "float32"), 1.0),
        ("shortlist of 48 dims, int8", lambda n: n * vector_bytes(48, "int8"), 1.0),
        ("shortlist of 384 bits", lambda n: n * vector_bytes(384, "bit"), 1.0),
        ("shortlist of 48 dims, int8, IVF", lambda n: n * vector_bytes(48, "int8"), inputs.probed),
    ]
    rows = []
    for name, held, share in ways:
        cells = []
        for documents in SIZES.values():
            size = held(documents) / 1e9
            machines = machines_for_memory(size, inputs)
            cells.append(
                f"{gigabytes(size)}, {number(machines)}, {milliseconds(scan_ms(size * share, machines, inputs))}, "
                f"${number(machines * inputs.cpu_price * MONTH_HOURS)}"
            )
        rows.append([name, *cells])
    return table(["in memory, machines, one query, a month", *SIZES], rows)


def saved_table(inputs: Inputs) -> str:
    """What the short prefix saves, and what the second step costs."""
    rows = []
    full, short = vector_bytes(384, "float32"), vector_bytes(48, "int8")
    rerank = inputs.keep * full / 1e9
    month = inputs.cpu_price * MONTH_HOURS
    for name, documents in SIZES.items():
        exact, quick = documents * full / 1e9, documents * short / 1e9
        before, after = machines_for_memory(exact, inputs), machines_for_memory(quick, inputs)
        disk = exact * inputs.disk_price
        rows.append(
            [
                name,
                f"{gigabytes(exact)} → {gigabytes(quick + rerank)}",
                f"{number(before)} → {number(after)}",
                f"${number(before * month)} → ${number(after * month + disk)}",
                f"{number(inputs.keep * inputs.fetch_ms / inputs.fetched_at_once)} ms",
            ]
        )
    return table(
        [
            "documents",
            "bytes a query reads",
            "machines",
            "a month (then with SSD)",
            "to rank candidates from SSD",
        ],
        rows,
    )


def rebuild_table(inputs: Inputs) -> str:
    """What a change costs: a new model, or only another size of the vectors that are there."""
    rows = []
    for name, documents in SIZES.items():
        cores = encode_hours(documents, inputs.cpu_rate, 1, inputs)
        gpus = encode_hours(documents, inputs.gpu_rate, 1, inputs)
        size = documents * vector_bytes(384, "float32") / 1e9
        read = size / inputs.disk_rate / 3600
        rows.append(
            [
                name,
                f"${number(max(0.01, cores / inputs.cpu_cores * inputs.cpu_price))}",
                f"${number(max(0.01, gpus * inputs.gpu_price))}",
                f"{gigabytes(size)} read, {number(read)} machine-hours, ${number(max(0.01, read * inputs.cpu_price))}",
            ]
        )
    return table(["documents", "new model, CPU", "new model, GPU", "another dim, same vectors"], rows)


def inputs_table(inputs: Inputs) -> str:
    """The inputs, in the words of their comments."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    rows = []
    for entry in fields(inputs):
        line = next(line for line in lines if line.startswith(f"    {entry.name}:"))
        rows.append(
            [f"`{entry.name}`", f"{getattr(inputs, entry.name):,.6g}", line.partition("#")[2].strip()]
        )
    return table(["input", "value", "what it is"], rows)


TABLES = {
    "inputs": inputs_table,
    "sizes": sizes_table,
    "encode": encode_table,
    "search": search_table,
    "saved": saved_table,
    "rebuild": rebuild_table,
}


def filled(page: str, inputs: Inputs) -> str:
    """The page with the tables between their marks."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{PAGE} has no place for the table '{name}'")
        page = f"{before}{begin}\n{make(inputs)}\n{end}{after}"
    return page


def main() -> None:
    """Prints the tables, or writes them into the page."""
    parser = argparse.ArgumentParser(description="The tables of docs/scale.md.")
    parser.add_argument("--set", action="append", default=[], metavar="INPUT=VALUE", dest="settings")
    parser.add_argument("--write", action="store_true", help="put them into docs/scale.md")
    chosen = parser.parse_args()
    inputs = override(Inputs(), chosen.settings)
    if chosen.write:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), inputs), encoding="utf-8")
        return
    for make in TABLES.values():
        print(make(inputs), end="\n\n")


if __name__ == "__main__":
    main()
