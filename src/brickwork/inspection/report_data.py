"""What the report shows, as plain data: fill what a run has, leave the rest out.

Every part may be absent (``None`` or empty); the page then leaves its section out. Nothing here is measured
or chosen: whoever fills it has done that. Quality is a share from 0 to 1, higher is better.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from brickwork.inspection.drawings import Drawing

Number = int | float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The one sentence that the reader should remember, for example "3 of 6 layers and 48 of 384 dimensions find
    as much as the whole untrained model".

    ``effect`` with its interval [``low``, ``high``] (95 %) is shown beside it, in the unit of ``metric``.
    """

    sentence: str
    metric: str = "nDCG@10"
    effect: Number | None = None
    low: Number | None = None
    high: Number | None = None
    explanation: str = ""


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """Quality of one size before and after training, on the same queries.

    ``low`` and ``high`` bound ``after - before`` (95 %, paired bootstrap); the difference counts as
    significant when both have the same sign.
    """

    dim: int
    layers: int
    after: Number
    before: Number | None = None
    low: Number | None = None
    high: Number | None = None

    @property
    def difference(self) -> Number | None:
        """``after - before``, where there is a before."""
        return None if self.before is None else self.after - self.before

    @property
    def significant(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, kw_only=True)
class QualityPart:
    """One measure of quality at every size, and what it is compared with.

    ``sample``: the sentence that says on what it was measured. ``baselines``: quality of methods without dims and
    layers on the same examples, such as BM25 and TF-IDF. ``other_metrics``: metric name -> {"before", "after",
    baselines …} at full size, for the small table. ``weak_below``: fewer dims than these are marked as not safe.
    """

    name: str
    cells: tuple[GridCell, ...]
    sample: str
    metric: str = "nDCG@10"
    description: str = ""
    baselines: Mapping[str, Number] = field(default_factory=dict)
    other_metrics: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    weak_below: int | None = None


@dataclass(frozen=True, kw_only=True)
class CostPoint:
    """What one size costs and gives: FLOPs to encode and compare one query, bytes of one stored vector, and
    measured milliseconds for one query (encode and search), where it was measured."""

    dim: int
    layers: int
    quality: Number
    flops_per_query: Number
    bytes_per_vector: Number
    milliseconds: Number | None = None


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The points of the quality-cost frontier; ``metric`` and ``name`` say which quality."""

    points: tuple[CostPoint, ...]
    name: str
    metric: str = "nDCG@10"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line over training steps. Curves of one ``panel`` share a plot."""

    name: str
    steps: tuple[int, ...]
    values: tuple[Number, ...]
    panel: str = "loss"


@dataclass(frozen=True, kw_only=True)
class MapPoint:
    """One document on the map; ``cluster`` is a row of :attr:`CorpusMap.clusters`."""

    x: Number
    y: Number
    cluster: int
    title: str


@dataclass(frozen=True, kw_only=True)
class MapCluster:
    """A group of documents: its place, its size and the words that set it apart."""

    x: Number
    y: Number
    size: int
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CorpusMap:
    """Documents as points in the plane, made by ``maps.corpus_map``."""

    points: tuple[MapPoint, ...]
    clusters: tuple[MapCluster, ...]
    method: str


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One search result; ``relevant`` is True where it is known to be an answer, None where nobody knows."""

    title: str
    score: Number
    text: str = ""
    source: str = ""
    relevant: bool | None = None


@dataclass(frozen=True, kw_only=True)
class SearchSide:
    """The results at one size, and how long the search took where it was timed; ``dim`` 0: no vectors were compared."""

    label: str
    dim: int
    layers: int
    milliseconds: Number | None
    hits: tuple[Hit, ...]


@dataclass(frozen=True, kw_only=True)
class ExampleSearch:
    """One query, answered at several sizes, shown side by side."""

    query: str
    sides: tuple[SearchSide, ...]


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything on the page.

    ``facts``: short label -> short value, the cards under the title (for example "training" -> "240 steps,
    2 min 10 s"). ``environment`` and ``configuration`` are nested JSON values, folded at the end.
    ``drawings``: what a system shows of itself in pictures of its own.
    ``commands``: (what it does, command line) pairs, what to do next.
    """

    title: str
    subtitle: str = ""
    created: str = ""
    finding: Finding | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    quality: tuple[QualityPart, ...] = ()
    costs: Costs | None = None
    curves: tuple[Curve, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    corpus_map: CorpusMap | None = None
    searches: tuple[ExampleSearch, ...] = ()
    searches_lead: str = "The same index, asked at full size and cut down."
    notes: tuple[str, ...] = ()
    commands: tuple[tuple[str, str], ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)


def curves_from_records(
    records: Iterable[Mapping[str, Any]], panels: Mapping[str, Iterable[str]]
) -> tuple[Curve, ...]:
    """Training curves out of logged records (the lines of ``metrics.jsonl``), each with a ``step``.

    ``panels`` chooses: panel name -> the record keys to draw in it. Values that are missing, not a number or
    not finite are left out, and a curve without any value is, too.
    """
    kept = list(records)
    curves = []
    for panel, names in panels.items():
        for name in names:
            pairs = [(int(r["step"]), float(r[name])) for r in kept if "step" in r and _finite(r.get(name))]
            if pairs:
                steps, values = zip(*pairs)
                curves.append(Curve(name=name, steps=steps, values=values, panel=panel))
    return tuple(curves)


def _finite(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < float("inf")
