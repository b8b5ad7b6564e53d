"""A first stage over a matrix of vectors: cuts queries, keeps filters, never finds too few, and lives in one file."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from brickwork.core.errors import ArtifactError
from brickwork.core.files import check_tensor_file, load_tensors, save_tensors
from brickwork.index.search import prefixes
from brickwork.index.shortlists.engines import Engine
from brickwork.index.shortlists.faiss_engine import FaissEngine
from brickwork.index.shortlists.scans import BinaryEngine, FlatEngine
from brickwork.index.types import KINDS, Kind
from brickwork.representation.nearest import top_k
from brickwork.representation.signs import Vectors
from brickwork.representation.truncate import truncate

FORMAT = 2
# A filter that leaves fewer rows than one in this many, or than this many for each wanted one, is answered exactly. A
# graph is walked the longer the fewer match: at one row in ten the walk took as long as comparing the rows (100,000 rows)
# or five times as long (200,000 rows, more candidates).
_FEW_OF_ALL: dict[str, int] = {"flat": 50, "int8": 50, "binary": 50, "hnsw": 8, "ivf": 50, "rabitq": 50}
_FEW_FOR_EACH = 10


class Shortlist:
    """Candidates on the unit-length prefix of ``dim`` dimensions, found by an engine of ``kind``."""

    def __init__(self, kind: Kind, dim: int, vectors: Vectors, engine: Engine):
        self.kind: Kind = kind
        self.dim = dim
        self._vectors = vectors
        self._engine = engine

    def __len__(self) -> int:
        return len(self._vectors)

    def search(
        self,
        queries: Float[np.ndarray, "queries width"],
        keep: int,
        *,
        effort: int | None = None,
        allowed: Bool[np.ndarray, " rows"] | None = None,
    ) -> Int[np.ndarray, "queries keep"]:
        """Rows of ``keep`` candidates for each query, best first; -1 where there are fewer rows.

        ``queries`` are of full width. Only rows where ``allowed`` is true are found; every query gets ``keep``
        rows if that many are allowed. ``effort`` is the one of a ``Plan``.
        """
        possible = len(self) if allowed is None else int(np.count_nonzero(allowed))
        wanted = min(keep, possible)
        rows = np.full((len(queries), keep), -1, dtype=np.int64)
        if wanted == 0 or len(queries) == 0:
            return rows
        if allowed is not None and possible < max(len(self) // _FEW_OF_ALL[self.kind], _FEW_FOR_EACH * keep):
            rows[:, :wanted] = self._exact(queries, wanted, allowed)
            return rows
        rows[:, :wanted] = self._engine.find(truncate(queries, self.dim), wanted, effort, allowed)
        # A walk through a graph or a few lists can end before it has met enough allowed rows.
        short = (rows[:, :wanted] < 0).any(axis=1)
        if short.any():
            rows[short, :wanted] = self._exact(queries[short], wanted, allowed)
        return rows

    def _exact(
        self,
        queries: Float[np.ndarray, "queries width"],
        keep: int,
        allowed: Bool[np.ndarray, " rows"] | None,
    ) -> Int[np.ndarray, "queries keep"]:
        cut = truncate(queries, self.dim)
        if allowed is None:
            return top_k(cut, prefixes(self._vectors, self.dim), keep)[1]
        rows = np.flatnonzero(allowed)
        return rows[top_k(cut, prefixes(self._vectors[rows], self.dim), keep)[1]]

    def nbytes(self) -> int:
        """Memory that is needed beside the vectors themselves."""
        same = self.kind == "flat" and self.dim == self._vectors.shape[1]
        return 0 if same else self._engine.nbytes()

    def efforts(self) -> tuple[int | None, ...]:
        """Efforts that are worth trying, rising; ``(None,)`` where the kind has no such choice."""
        return self._engine.efforts()

    def save(self, path: Path) -> None:
        """Writes one safetensors file, for :func:`load_shortlist`."""
        import torch

        rows, width = self._vectors.shape
        header = {"format": FORMAT, "kind": self.kind, "dim": self.dim, "rows": rows, "width": width}
        arrays = {"none": np.zeros(0, np.uint8), **self._engine.arrays()}  # a file must hold something
        text = json.dumps(header)  # in one entry: the order of several is not kept
        save_tensors(
            path, {name: torch.from_numpy(array) for name, array in arrays.items()}, {"shortlist": text}
        )


def build_shortlist(kind: Kind, vectors: Vectors, dim: int, *, seed: int = 0) -> Shortlist:
    """A shortlist over all rows. The same seed gives the same bytes, except ``hnsw`` on more than one thread."""
    rows = prefixes(vectors, dim)
    engine: Engine
    if kind == "flat":
        engine = FlatEngine(rows)
    elif kind == "binary":
        engine = BinaryEngine.build(np.asarray(rows))
    else:
        engine = FaissEngine.build(kind, np.asarray(rows), seed)
    return Shortlist(kind, dim, vectors, engine)


def _restored(kind: Kind, arrays: Mapping[str, np.ndarray], vectors: Vectors, dim: int) -> Engine:
    """The engine of a file. Raises ValueError for arrays that do not fit together, or to the shape."""
    if kind == "flat":
        return FlatEngine(prefixes(vectors, dim))
    shape = (len(vectors), dim)
    return (
        BinaryEngine.restore(arrays, shape) if kind == "binary" else FaissEngine.restore(kind, arrays, shape)
    )


def load_shortlist(path: Path, vectors: Vectors) -> Shortlist:
    """The shortlist in a file, over the first rows of ``vectors``: as many as it was built of.

    Raises:
        ArtifactError: no shortlist, a damaged one, or one of other vectors' shape.
    """
    again = "rebuild it with `brickwork index --repair`"
    try:
        header = json.loads(check_tensor_file(path)["__metadata__"]["shortlist"])
        kind, rows, width, dim = (header[name] for name in ("kind", "rows", "width", "dim"))
        known = header["format"] == FORMAT and kind in KINDS
        whole = all(isinstance(number, int) for number in (rows, width, dim))
    except (KeyError, TypeError, ValueError):
        known = False
    if not known or not whole:
        raise ArtifactError(f"{path} is not a shortlist of format {FORMAT}; {again}")
    if not 1 <= rows <= len(vectors) or width != vectors.shape[1] or not 1 <= dim <= width:
        raise ArtifactError(
            f"{path} is of {rows} rows of width {width}, cut to {dim}; the index has {len(vectors)} rows of width "
            f"{vectors.shape[1]}; {again}"
        )
    arrays = {name: tensor.numpy() for name, tensor in load_tensors(path).items()}
    covered = vectors[:rows]
    try:
        engine = _restored(kind, arrays, covered, dim)
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}; {again}") from error
    return Shortlist(kind, dim, covered, engine)
