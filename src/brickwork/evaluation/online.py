"""Quality while training: a small, fixed part of the validation data, measured in seconds.

The part is chosen once, from the seed, and bounded in rows and in characters, so that the numbers of one run
are comparable and validation never costs more than a few training steps. Its pool of documents is small:
the numbers show progress and are not the quality on the whole test set.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brickwork.evaluation.cross_modal import cross_modal_recall
from brickwork.evaluation.probes import knn_probe
from brickwork.evaluation.retrieval import score
from brickwork.evaluation.similarity import spearman
from brickwork.representation.encode import encode
from brickwork.representation.nearest import top_k

if TYPE_CHECKING:
    from brickwork.core.elastic import ElasticAxes
    from brickwork.core.types import Encodes
    from brickwork.data.types import Examples, TaskData
    from brickwork.encoders.prompts import Role
    from brickwork.representation.model import Representation

MAX_QUERIES = 200
MAX_DOCUMENTS = 1000
MAX_CHARACTERS = 40_000  # of all documents together: about 10,000 tokens; 2–3 s of MiniLM on two cores
TEXT_CHARACTERS = 256  # of each text: about 64 tokens
_CROSS_MODAL = ("text_to_image_recall@1", "image_to_text_recall@1")

Validator = Callable[[Any], dict[str, float]]


def make_validator(
    data: "TaskData", seed: int, *, max_queries: int = MAX_QUERIES, max_documents: int = MAX_DOCUMENTS
) -> Validator:
    """A function from a system to its quality on validation data, full size first, then a small size.

    Pairs and triplets give ``ndcg@10``, scored pairs ``spearman``, labelled inputs ``accuracy`` (nearest
    neighbour among training inputs), images with texts ``text_to_image_recall@1`` and back. The small size (an
    eighth of the dimensions, half of the layers, or the
    trained sizes nearest to that) has a name like ``ndcg@10/48x3``. Fewer than two rows give no number.
    """
    rng = np.random.default_rng(seed)
    if len(data.validation) < 2:
        return lambda system: {}
    if data.modality == "image-text":
        return _image_text(data.validation, rng, max_queries)
    if data.kind == "labelled":
        return _labelled(data, rng, max_queries, max_documents)
    if data.kind == "scored":
        return _scored(data.validation, rng, max_documents)
    return _pairs(data.validation, rng, max_queries, max_documents)


def system_validator(data: "TaskData", seed: int, *, max_rows: int = MAX_QUERIES) -> Validator:
    """A function from a system that measures itself to its numbers on a part of the validation data: of one that watches
    itself, those that it watches."""
    from brickwork.core.types import Watches

    rows = np.random.default_rng(seed).permutation(len(data.validation))[:max_rows]
    if not len(rows):
        return lambda system: {}
    examples = data.validation.select(rows.tolist())
    return lambda system: dict(
        system.watch(examples) if isinstance(system, Watches) else system.evaluate(examples)
    )


def small_size(axes: "ElasticAxes") -> tuple[int, int]:
    """The trained dim nearest to an eighth of the full one, and the trained depth nearest to half."""

    def nearest(trained: Sequence[int], wanted: float) -> int:
        return min(trained, key=lambda value: (abs(value - wanted), value))

    return nearest(axes.dims, axes.full_dim / 8), nearest(axes.layers, axes.num_layers / 2)


def _at_sizes(
    system: "Encodes", inputs: Any, name: str, measure: Callable[[np.ndarray], float]
) -> dict[str, float]:
    """``measure`` of the unit vectors of ``inputs`` at the full and the small size."""
    representation = system.representation()
    axes = representation.axes
    inputs = _prompted(representation, inputs)
    full, small = (axes.full_dim, axes.num_layers), small_size(axes)
    sizes = {name: full} if small == full else {name: full, f"{name}/{small[0]}x{small[1]}": small}
    return {key: measure(_vectors(representation, inputs, *size)) for key, size in sizes.items()}


def _prompted(representation: "Representation", inputs: Any) -> Any:
    """The inputs behind their prompts, as :meth:`Representation.encode` has them: queries and documents by role."""
    wanted = bool(getattr(representation, "prompts", None))
    if not isinstance(inputs, dict):
        return representation.prompted(inputs) if wanted else inputs
    parts = (representation.prompted(texts, role) if wanted else texts for role, texts in inputs.items())
    return [text for texts in parts for text in texts]


def _vectors(representation: "Representation", inputs: Any, dim: int, layers: int) -> np.ndarray:
    """As :meth:`Representation.encode`, in float32 and without notes on inputs that are cut."""
    return encode(representation.encoder, inputs, dim, layers, precision="fp32")


def _clip(texts: Sequence[str]) -> list[str]:
    return [text[:TEXT_CHARACTERS] for text in texts]


def _pairs(examples: "Examples", rng: np.random.Generator, max_queries: int, max_documents: int) -> Validator:
    """Documents are the positives and negatives within the bounds; all of a query's group answer it."""
    rows = rng.permutation(len(examples))[: 2 * max_documents]
    columns = examples.take(rows.tolist())
    anchors, positives = _clip(columns["anchor"]), _clip(columns["positive"])
    groups = columns.get("group", np.arange(len(rows)))
    extra = _clip(columns["negative"]) if "negative" in columns else []
    place: dict[str, int] = {}
    group_of: dict[int, set[int]] = {}
    characters = 0
    for text, group in [*zip(positives, groups), *((text, None) for text in extra)]:
        if text not in place:
            if len(place) >= max_documents or characters + len(text) > MAX_CHARACTERS:
                continue
            place[text] = len(place)
            characters += len(text)
        if group is not None:
            group_of.setdefault(int(group), set()).add(place[text])
    asked = [row for row in range(len(anchors)) if int(groups[row]) in group_of][:max_queries]
    queries = [anchors[row] for row in asked]
    relevant = [dict.fromkeys(group_of[int(groups[row])], 1) for row in asked]
    documents = list(place)

    def measure(vectors: np.ndarray) -> float:
        _, ranked = top_k(vectors[: len(queries)], vectors[len(queries) :], 10)
        return float(score(ranked, relevant, ("ndcg@10",))["ndcg@10"].mean())

    texts: dict[Role, list[str]] = {"query": queries, "document": documents}
    return lambda system: _at_sizes(system, texts, "ndcg@10", measure)


def _image_text(examples: "Examples", rng: np.random.Generator, max_queries: int) -> Validator:
    columns = examples.take(rng.permutation(len(examples))[:max_queries].tolist())
    number = {group: place for place, group in enumerate(dict.fromkeys(columns["image_group"]))}
    first = [columns["image_group"].index(group) for group in number]
    of = [number[group] for group in columns["image_group"]]
    images, texts = columns["image"][first], _clip(columns["text"])

    def measure(system: Any) -> dict[str, float]:
        representation = system.representation()
        size = representation.axes.full_dim, representation.axes.num_layers
        left, right = (
            _vectors(representation, _prompted(representation, inputs), *size) for inputs in (images, texts)
        )
        return {name: cross_modal_recall(left, right, of, (1,))[name] for name in _CROSS_MODAL}

    return measure


def _scored(examples: "Examples", rng: np.random.Generator, max_documents: int) -> Validator:
    rows = rng.permutation(len(examples))[: max_documents // 4]
    columns = examples.take(rows.tolist())
    wanted = np.asarray(columns["score"], dtype=np.float64)

    def measure(vectors: np.ndarray) -> float:
        left, right = vectors[: len(wanted)], vectors[len(wanted) :]
        return spearman(np.einsum("nd,nd->n", left, right).astype(np.float64), wanted)

    texts = _clip(columns["anchor"]) + _clip(columns["positive"])
    return lambda system: _at_sizes(system, texts, "spearman", measure)


def _labelled(data: "TaskData", rng: np.random.Generator, max_queries: int, max_documents: int) -> Validator:
    known = data.train.take(rng.permutation(len(data.train))[:max_documents].tolist())
    asked = data.validation.take(rng.permutation(len(data.validation))[:max_queries].tolist())
    labels = np.asarray(known["label"], dtype=np.int64)
    wanted = np.asarray(asked["label"], dtype=np.int64)
    inputs: Any
    if data.modality == "text":
        inputs = _clip(known["input"]) + _clip(asked["input"])
    else:
        inputs = np.concatenate([np.asarray(known["input"]), np.asarray(asked["input"])])

    def measure(vectors: np.ndarray) -> float:
        return knn_probe(vectors[: len(labels)], labels, vectors[len(labels) :], wanted).accuracy

    return lambda system: _at_sizes(system, inputs, "accuracy", measure)
