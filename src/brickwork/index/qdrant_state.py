"""Changes that become visible at once in an engine without transactions: numbered versions and one record.

- A point is one version of a document: ``born`` and ``died`` are the numbers of the changes that brought and ended it.
- One point, the record, holds the number of the newest complete change. Readers first read the record, then ask
  for points with born ≤ number < died, and read again if the record has changed meanwhile.
- A writer claims the record (written only if nobody holds it), writes the new versions, marks the old ones, and
  finally advances the number. Whatever a writer left that never came so far is removed by the next one.

A writer that gives no sign for ``CLAIM_SECONDS`` is taken for dead and another may begin. If it was only asleep, it
learns this before its next batch; the one batch that is under way at that moment is what this cannot stop.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from brickwork.core.errors import ArtifactError, BrickworkError, MissingExtraError, ResourceError
from brickwork.index.conditions import Kind
from brickwork.index.qdrant_filters import any_of, key

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import ApiException
except ImportError as error:
    raise MissingExtraError("qdrant-client", "qdrant", "an index in Qdrant") from error

T = TypeVar("T")

CLAIM_SECONDS = 60.0
ALIVE = 2**52  # the death of what is not dead: later than every change
NAMESPACE = uuid.UUID("6f2c1c4e-0a57-4a53-9d0c-3f2a6d1f8b11")
RECORD = str(uuid.uuid5(NAMESPACE, "record"))
_TRIES = 20


class State:
    """The record of a collection: what is visible, and who may change it."""

    def __init__(self, client: QdrantClient, collection: str):
        self.client = client
        self.collection = collection
        self._lock = threading.Lock()
        self.kept: dict[str, Any] = {}  # what the change under way adds to the record

    def reading(self, look: Callable[[int], T]) -> T:
        """What ``look`` sees of one state: repeated while writers move on and clear away behind it."""
        with server_errors(self.collection, "nothing was changed"):
            for _ in range(_TRIES):
                number = self.record()["number"]
                result = look(number)
                if self.record()["number"] == number:
                    return result
        raise ResourceError(
            f"collection '{self.collection}' changed {_TRIES} times while it was read; try again, and write in "
            "larger batches"
        )

    def record(self) -> dict[str, Any]:
        """What the record says now."""
        points = self.client.retrieve(
            self.collection, [RECORD], consistency=models.ReadConsistencyType.MAJORITY
        )
        if not points:
            raise ArtifactError(f"the index in collection '{self.collection}' is gone; build it again")
        return points[0].payload or {}

    def count(self, which: models.Filter) -> int:
        return self.client.count(self.collection, count_filter=which, exact=True).count

    def scroll(self, which: models.Filter | None, wanted: list[str]) -> Iterator[dict[str, Any]]:
        if which is None:
            return
        offset = None
        while True:
            points, offset = self.client.scroll(
                self.collection, scroll_filter=which, limit=1024, offset=offset, with_payload=wanted
            )
            yield from (point.payload or {} for point in points)
            if offset is None:
                return

    def distinct(self, name: str, number: int) -> list[Any]:
        """The distinct values below a payload key among what is visible."""
        facet = self.client.facet(
            self.collection, name, facet_filter=visible(number), limit=10_000_000, exact=True
        )
        return [hit.value for hit in facet.hits]

    @contextlib.contextmanager
    def changing(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """Claims the record, gives the number of the change and what renews the claim, and finally advances it."""
        writer = uuid.uuid4().hex
        consequence = "nothing of the change is visible; run it again"
        with self._lock:
            with server_errors(self.collection, consequence):
                record, self.kept = self.record(), {}
                number = record["number"]
                if record["writer"] and time.time() - record["seen"] < CLAIM_SECONDS:
                    raise self._claimed()
                self._set(record, {"writer": writer, "seen": time.time()}, was=record)
            with server_errors(self.collection, consequence):
                claimed = {**record, "writer": writer}
                try:
                    self._clear(number)
                    yield number + 1, lambda: self._set(claimed, {"seen": time.time()}, was=claimed)
                except BaseException:
                    with contextlib.suppress(ApiException, BrickworkError):
                        self._set(claimed, {"writer": ""}, was=claimed)
                    raise
            with server_errors(
                self.collection,
                "the change is visible as a whole or not at all; look before running it again",
            ):
                self._set(claimed, {"number": number + 1, "writer": "", **self.kept}, was=claimed)

    def _set(self, record: dict[str, Any], new: dict[str, Any], *, was: dict[str, Any]) -> None:
        """Writes the record if its number and writer are still ``was``; the server does this in one step."""
        unchanged = models.Filter(
            must=[
                models.FieldCondition(key="number", match=models.MatchValue(value=was["number"])),
                models.FieldCondition(key="writer", match=models.MatchValue(value=was["writer"])),
            ]
        )
        wanted = {**record, **new}
        point = models.PointStruct(id=RECORD, vector={}, payload=wanted)
        self.client.upsert(
            self.collection, [point], wait=True, ordering=models.WriteOrdering.STRONG, update_filter=unchanged
        )
        state = self.record()
        if (state["number"], state["writer"]) != (wanted["number"], wanted["writer"]):
            raise self._claimed()

    def _claimed(self) -> ResourceError:
        return ResourceError(
            f"another process is changing collection '{self.collection}'; try again when it is done, or "
            f"{CLAIM_SECONDS:.0f} seconds after it died"
        )

    def _clear(self, number: int) -> None:
        """Removes what a broken change left, and versions that ended before the newest state."""
        beyond = models.Filter(must=[between("died", gt=number, lt=ALIVE)])
        self.client.set_payload(self.collection, {"died": ALIVE}, points=beyond, wait=True)
        for gone in (between("born", gt=number), between("died", lte=number)):
            self.client.delete(
                self.collection, models.FilterSelector(filter=models.Filter(must=[gone])), wait=True
            )


def between(name: str, **bounds: int) -> models.FieldCondition:
    """A number within bounds (``gt``, ``gte``, ``lt``, ``lte``)."""
    return models.FieldCondition(key=name, range=models.Range(**{k: float(v) for k, v in bounds.items()}))


def visible(number: int) -> models.Filter:
    """The versions that make up the state after change ``number``."""
    return models.Filter(must=[between("born", lte=number), between("died", gt=number)])


def named(ids: Sequence[str], number: int) -> models.Filter | None:
    """The visible versions of some documents; ``None`` for none."""
    if not ids:
        return None
    named = models.FieldCondition(key=key("texts", "id"), match=models.MatchAny(any=list(ids)))
    return models.Filter(must=[visible(number), named])


@contextlib.contextmanager
def server_errors(collection: str, consequence: str) -> Iterator[None]:
    """Turns the server's refusals into one clear error that says what became of the data."""
    try:
        yield
    except ApiException as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResourceError(
            f"the Qdrant server of collection '{collection}' cannot be reached or refused ({reason}); {consequence}"
        ) from error


class CollectionFields:
    """What the documents of a state hold, for :func:`filters.resolve`; each answer asks the server."""

    def __init__(self, state: State, number: int):
        self._state = state
        self._number = number

    def has(self, field: str, kind: Kind) -> bool:
        """Whether any document has a value of this kind in a field."""
        if kind == "text":
            return bool(self.texts(field))
        which = models.Filter(must=[visible(self._number), any_of(field, kind)])
        return self._state.count(which) > 0

    def texts(self, field: str) -> list[str]:
        """The distinct texts of a field."""
        return self._state.distinct(key("texts", field), self._number)

    def some(self, field: str, kind: Kind, count: int) -> list[Any]:
        """Up to ``count`` texts of a field; other values are not looked up."""
        return self.texts(field)[:count] if kind == "text" else []
