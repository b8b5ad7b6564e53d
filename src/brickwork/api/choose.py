"""The cheapest way to search that keeps enough, from what a run measured, and how sure that is: the command ``choose``.

import brickwork
brickwork.choose("runs/docs", keep=0.98)
brickwork.choose("minilm", "docs/", keep=0.98)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import read_json, write_json
from brickwork.core.folders import known_folder

if TYPE_CHECKING:
    from brickwork.evaluation.grid import Cell, GridResult
    from brickwork.evaluation.measure import Measurement
    from brickwork.representation.model import Representation

SCORES = "scores.json"
"""The score of every held-out query at every size, beside ``evaluation.json``, which has the means."""
METRIC = "ndcg@10"
SURE = 0.95
RESAMPLES = 2_000
# What a search takes however few documents there are, in documents and bytes that take as long again: 30 documents take
# 0.15 to 0.7 ms by words (queries of 8 and 50 words) and 60,000 of 60 words 14 times that; 33 vectors take 0.016 ms, and a
# megabyte of vectors 0.05 ms (index/planning.py).
_FIXED_DOCUMENTS = 4_500.0
_FIXED_BYTES = 300_000.0


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A way to search: ``mode`` hybrid, dense or lexical (then ``dim`` and ``layers`` are 0), and what it costs.

    ``milliseconds`` of one query, encoding included, where that was timed; ``flops`` of one query; ``vector_bytes`` of one
    stored vector.
    """

    mode: str
    dim: int
    layers: int
    milliseconds: float | None
    flops: float
    vector_bytes: int

    @property
    def label(self) -> str:
        """``hybrid at 48 dims, 3 layers``."""
        return f"{self.mode} at {self.dim} dims, {self.layers} layers" if self.dim else self.mode


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a setting keeps on one retrieval set: its mean, that of the reference, their ratio, and its 95 % interval over
    resamples of the queries."""

    task: str
    quality: float
    reference: float
    share: float
    low: float
    high: float
    num_queries: int


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The cheapest setting that holds on the mean, and how sure that is.

    ``holds``: the share of resamples of the queries in which it keeps as much as was asked for on every set; ``None`` where
    only costs were limited. ``sure``: the cheapest setting for which that share is 0.95 or more, if there is one.
    ``reference``: the full size, by vectors or with words beside them, whichever is better. ``kind`` and ``reason``: the
    kind of index for so many ``documents``.
    """

    setting: Setting
    kept: tuple[Kept, ...]
    reference: Setting
    holds: float | None
    sure: Setting | None
    kind: str
    reason: str
    documents: int
    keep: float | None
    resamples: int = RESAMPLES


def hybrid_words(representation: "Representation") -> Any:
    """What measures hybrid searches of the texts that a model reads; ``None`` for a formal language, which has no words."""
    from brickwork.index.ranking import WordsBeside
    from brickwork.training.run import texts_of

    return WordsBeside if texts_of(representation) is None else None


def write_scores(folder: Path, measurement: "Measurement") -> None:
    """Writes what :func:`choose` reads."""
    if measurement.grids:
        write_json(folder / SCORES, measurement.scores_of_queries())


def choose(
    model: Path | str,
    data: Path | str | None = None,
    *,
    keep: float | None = None,
    max_ms: float | None = None,
    max_bytes: int | None = None,
    documents: int | None = None,
    progress: bool = False,
) -> Choice:
    """The cheapest (dims, layers, mode) that holds on held-out queries, and the kind of index for it.

    Of a finished run without ``data`` it is by what the training measured; where that is not there it is measured now, on
    the run's own data, and kept. With ``data`` (as :func:`brickwork.evaluate` reads it) any model is measured on it.

    ``keep``: the share of the nDCG@10 of the full size that is to be kept, on every retrieval set. ``max_ms``: the
    milliseconds of one query (encoding, and an exact comparison with ``documents`` documents; default: as many as were
    measured).
    ``max_bytes``: the bytes of one stored vector. Without ``keep`` it is the best setting within the limits. Cheapest is
    what takes the fewest operations a query, then the fewest bytes.

    The setting is chosen by the same queries that it is measured on, so the mean flatters it; ``holds`` and ``sure`` say by
    how little.

    Raises:
        ArtifactError: the model cannot be loaded, or what its run measured is damaged.
        ConfigError: nothing asked for, an impossible value, a model without a run and no ``data``, or nothing that holds;
            says what comes nearest.
        DataError: ``data`` cannot be read, or has no queries.
    """
    _check(keep, max_ms, max_bytes, documents)
    grids, words = _measured(model, data, progress)
    first = next(iter(grids.values()))
    count = documents or max(grid.num_documents for grid in grids.values())
    settings = _settings(grids, first, count, with_words=words is not None)
    scores = [_scores(grid, settings, None if words is None else words[name]) for name, grid in grids.items()]
    means = np.array([one.mean(axis=0) for one in scores])  # sets × settings
    average = means.mean(axis=0)
    full = max(settings, key=lambda one: (one.layers, one.dim))
    whole = [place for place, one in enumerate(settings) if (one.layers, one.dim) == (full.layers, full.dim)]
    reference = max(whole, key=lambda place: average[place])
    if not means[:, reference].all():
        raise ConfigError(f"{model}: the full size finds nothing, so there is no quality to keep")
    fits = [place for place, one in enumerate(settings) if _within(one, max_ms, max_bytes)]
    if not fits:
        fastest = min(settings, key=lambda one: (one.milliseconds or 0, one.vector_bytes))
        raise ConfigError(f"no size is within the limits; the cheapest is {_say(fastest)}")
    shares = [_resampled(one, reference) for one in scores]
    holds = None if keep is None else np.all([share >= keep for share in shares], axis=0).mean(axis=0)
    if keep is None:
        chosen = max(fits, key=lambda place: average[place])
    else:
        kept = (means / means[:, [reference]]).min(axis=0)
        good = [place for place in fits if kept[place] >= keep]
        if not good:
            nearest = max(fits, key=lambda place: kept[place])
            raise ConfigError(
                f"nothing within the limits keeps {keep:g} of {settings[reference].label}; the nearest keeps "
                f"{kept[nearest]:.3f}: {_say(settings[nearest])}"
            )
        chosen = min(good, key=lambda place: _cost(settings[place]))
    certain = [] if holds is None else [place for place in fits if holds[place] >= SURE]
    kind, reason = _kind(settings[chosen], full, settings, count)
    return Choice(
        setting=settings[chosen],
        kept=tuple(
            _kept(name, one, share[:, chosen], chosen, reference)
            for name, one, share in zip(grids, scores, shares)
        ),
        reference=settings[reference],
        holds=None if holds is None else float(holds[chosen]),
        sure=min((settings[place] for place in certain), key=_cost, default=None),
        kind=kind,
        reason=reason,
        documents=count,
        keep=keep,
    )


def _check(keep: float | None, max_ms: float | None, max_bytes: int | None, documents: int | None) -> None:
    if keep is None and max_ms is None and max_bytes is None:
        raise ConfigError("say what is to hold: keep (a share, as 0.98), max_ms or max_bytes")
    if keep is not None and not 0 < keep <= 1:
        raise ConfigError(f"keep={keep} is outside 0 … 1; 0.98 keeps 98 % of the quality of the full size")
    for name, value in (("max_ms", max_ms), ("max_bytes", max_bytes), ("documents", documents)):
        if value is not None and not value > 0:
            raise ConfigError(f"{name}={value} must be more than 0")


def _measured(
    model: Path | str, data: Path | str | None, progress: bool
) -> "tuple[dict[str, GridResult], dict[str, np.ndarray] | None]":
    """The grids of a model, and for each the score of every query by words alone, where that was measured."""
    from brickwork.api.evaluate import measure_searches
    from brickwork.api.train import read_run

    if data is not None:
        return _parts(measure_searches(model, data, progress=progress).scores_of_queries())
    folder = Path(model)
    if not folder.exists() or known_folder(folder).kind != "run":
        raise ConfigError(
            f"{model} is no finished run, which has measured itself: give data to measure it on"
        )
    path = folder / SCORES
    if not path.is_file():  # of an earlier version, or trained without measuring
        measurement = measure_searches(folder, read_run(folder).data.source, progress=progress)
        write_scores(folder, measurement)
        return _parts(measurement.scores_of_queries())
    try:
        grids, words = _parts(read_json(path))
    except (ConfigError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} is damaged ({error}); delete it, and it is measured again") from error
    if not grids:
        raise ArtifactError(f"{path} holds no search; choose works for models of texts with held-out queries")
    return grids, words


def _parts(scores: dict[str, Any]) -> "tuple[dict[str, GridResult], dict[str, np.ndarray] | None]":
    from brickwork.evaluation.grid import GridResult

    grids = {name: GridResult.from_dict(grid) for name, grid in scores["grids"].items()}
    words = {name: np.array(of["BM25"][METRIC]) for name, of in scores["baselines"].items()}
    return grids, words if set(words) == set(grids) else None


def _settings(
    grids: "dict[str, GridResult]", first: "GridResult", count: int, *, with_words: bool
) -> list[Setting]:
    """Every setting that was measured on all sets; costs are means over the sets, for ``count`` documents."""
    beside = [grid.words_milliseconds for grid in grids.values()]
    scaled = [
        None if one is None else _scaled(one, grid.num_documents, count, _FIXED_DOCUMENTS)
        for one, grid in zip(beside, grids.values())
    ]
    words = _mean(scaled)
    settings = []
    for cell in first.cells:
        cells = [grid.cell(cell.dim, cell.layers) for grid in grids.values()]
        times = _mean([_milliseconds(one, grid, count) for one, grid in zip(cells, grids.values())])
        encoding = _mean([one.cost.encode_flops for one in cells])
        flops = (cell.layers if encoding is None else encoding) + 2.0 * count * cell.dim
        size: dict[str, Any] = {
            "dim": cell.dim,
            "layers": cell.layers,
            "vector_bytes": cell.cost.vector_bytes,
        }
        settings.append(Setting(mode="dense", milliseconds=times, flops=flops, **size))
        if all(one.hybrid for one in cells):
            both = None if times is None or words is None else times + words
            settings.append(Setting(mode="hybrid", milliseconds=both, flops=flops, **size))
    if with_words:
        settings.append(
            Setting(mode="lexical", dim=0, layers=0, milliseconds=words, flops=0.0, vector_bytes=0)
        )
    return settings


def _milliseconds(cell: "Cell", grid: "GridResult", count: int) -> float | None:
    """Encoding, and an exact scan of so many documents."""
    encode, scan = cell.cost.encode_milliseconds, cell.cost.scan_milliseconds
    if encode is None or scan is None:
        return None
    return encode + _scaled(scan, grid.num_documents, count, _FIXED_BYTES / cell.cost.vector_bytes)


def _scaled(measured: float, documents: int, count: int, fixed: float) -> float:
    """What takes so long for ``documents``, for ``count`` of them; ``fixed``: as many documents as take the time that it
    takes for none."""
    return measured * (fixed + count) / (fixed + documents)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else None


def _scores(grid: "GridResult", settings: Sequence[Setting], words: np.ndarray | None) -> np.ndarray:
    """Shape (queries, settings)."""
    columns = []
    for one in settings:
        if one.mode == "lexical":
            assert words is not None
            columns.append(words)
            continue
        cell = grid.cell(one.dim, one.layers)
        columns.append(np.array((cell.hybrid if one.mode == "hybrid" else cell.scores)[METRIC]))
    return np.stack(columns, axis=1)


def _resampled(scores: np.ndarray, reference: int) -> np.ndarray:
    """The kept share of every setting in resamples of the queries. Shapes: (queries, settings) → (resamples, settings)."""
    queries = len(scores)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(queries, np.full(queries, 1 / queries), size=RESAMPLES)
    means = counts @ scores / queries
    base = means[:, [reference]]
    return np.divide(means, base, out=np.zeros_like(means), where=base > 0)


def _kept(task: str, scores: np.ndarray, shares: np.ndarray, chosen: int, reference: int) -> Kept:
    quality, base = float(scores[:, chosen].mean()), float(scores[:, reference].mean())
    low, high = np.quantile(shares, [0.025, 0.975])
    return Kept(
        task=task,
        quality=quality,
        reference=base,
        share=quality / base,
        low=float(low),
        high=float(high),
        num_queries=len(scores),
    )


def _cost(setting: Setting) -> tuple[float, int, bool]:
    return setting.flops, setting.vector_bytes, setting.mode == "hybrid"


def _within(setting: Setting, max_ms: float | None, max_bytes: int | None) -> bool:
    if max_ms is not None and setting.milliseconds is None:
        raise ConfigError("queries of this run were not timed, so max_ms cannot be had; leave it out")
    fast = max_ms is None or (setting.milliseconds or 0.0) <= max_ms
    return fast and (max_bytes is None or setting.vector_bytes <= max_bytes)


def _say(setting: Setting) -> str:
    time = "" if setting.milliseconds is None else f"{setting.milliseconds:.2f} ms a query, "
    return f"{setting.label} ({time}{setting.vector_bytes:,} bytes a vector)"


def _kind(setting: Setting, full: Setting, settings: Sequence[Setting], count: int) -> tuple[str, str]:
    from brickwork.index.planning import choose_kind

    if not setting.dim:
        return "flat", "flat: no vectors are compared"
    dims = sorted({one.dim for one in settings if one.dim})
    return choose_kind(count, full.dim, dims)
