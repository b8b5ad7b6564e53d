"""Documents as vectors, on disk or in an index: the commands ``encode``, ``index`` and ``update``.

import brickwork
brickwork.build_index("runs/docs", "docs/", "runs/docs-index")
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import ConfigError, DataError

CALIBRATE_ON = 2_000
"""Documents at the beginning, from which those for calibration are drawn."""

if TYPE_CHECKING:
    from brickwork.data.config import ColumnNames
    from brickwork.data.types import Document
    from brickwork.index.index import Index
    from brickwork.index.sync import SyncReport
    from brickwork.representation.model import Representation


def encode_file(
    model: "Path | str | Representation",
    data: Path | str,
    out: Path | str,
    *,
    dim: int | None = None,
    layers: int | None = None,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    ray: str | None = None,
    workers: int | None = None,
    gpus: float = 0,
    passage_words: int | None = None,
    allow_outside: bool = False,
    engine: str = "auto",
    view: str = "dense",
    tell: "Callable[[str], None] | None" = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Encodes documents into Parquet shards: texts, or with a model of images a folder or table of these; goes on where an
    interrupted call stopped.

    ``engine``: what computes (representation/engines.py); ``int8`` is calibrated on these documents the first time.
    ``passage_words``: the length of passages of documents (default: what the model reads). ``allow_outside``: links that
    lead out of the folder ``data`` are followed. ``tell`` is called with which columns of a table are taken for what.
    ``view`` ``sparse``: words and their weights in place of vectors, of a model that reads words.

    ``ray`` (``local``, ``auto`` or ``HOST:PORT``) has Parquet and JSONL files encoded by several ``workers``, with
    ``gpus`` each: :func:`brickwork.representation.encode_ray.encode_with_ray`.

    Raises:
        ArtifactError: the model gives no vectors; said before the data is looked at, as are the others.
        ConfigError: a size that the model does not have.
    """
    if ray is not None and passage_words is not None:
        raise ConfigError("--passage-words is of text files, and --ray reads tables; leave it out")
    if ray is not None and view != "dense":
        raise ConfigError(f"--view {view} has no effect with --ray; leave it out")
    if ray is not None and engine != "auto":
        raise ConfigError(
            f"--engine {engine} has no effect with --ray, whose workers use PyTorch; leave it out"
        )
    if ray is not None:
        return _encode_with_ray(
            model, data, out, limit, columns=columns, dim=dim, layers=layers, address=ray, workers=workers,
            gpus=gpus, allow_outside=allow_outside, tell=tell, progress=progress,
        )  # fmt: skip
    if workers is not None or gpus:
        raise ConfigError("workers and gpus are of --ray; give it, or leave them out")
    from brickwork.representation.export_parquet import encode_to_disk

    representation = _with_engine(model, engine, data, columns, limit, passage_words, allow_outside)
    representation.axes.resolve(dim, layers)
    read = _documents if representation.encoder.kind == "image" else _texts
    documents = read(representation, data, columns, limit, passage_words, allow_outside, tell)
    return encode_to_disk(
        representation, documents, Path(out), dim=dim, layers=layers, view=view, progress=progress
    )


def _with_engine(
    model: "Path | str | Representation",
    engine: str,
    data: Path | str,
    columns: "ColumnNames | None",
    limit: int | None,
    passage_words: int | None,
    allow_outside: bool,
) -> "Representation":
    """The model, computed by ``engine``, which is calibrated on the beginning of ``data`` if it must be."""
    from brickwork.representation.export_parquet import document_text
    from brickwork.representation.load import as_representation, load_representation

    if engine == "auto":
        return as_representation(model)
    if not isinstance(model, str | Path):
        raise ConfigError(
            "the engine belongs to the model: brickwork.load(MODEL, engine=…), and leave it out here"
        )

    def calibration() -> list[str]:
        plain = as_representation(model)
        rows = _texts(plain, data, columns, limit, passage_words, allow_outside, None)
        return [document_text(row) for row in islice(rows, CALIBRATE_ON)]

    return load_representation(model, engine=engine, calibration=calibration)


def _encode_with_ray(
    model: "Path | str | Representation",
    data: Path | str,
    out: Path | str,
    limit: int | None,
    *,
    tell: "Callable[[str], None] | None",
    **options: Any,
) -> dict[str, Any]:
    from brickwork.representation.encode_ray import encode_with_ray

    if not isinstance(model, str | Path):
        raise ConfigError("with Ray each worker loads the model: give its folder; save it first")
    if limit is not None:
        raise ConfigError(
            "--limit cannot be had with --ray, whose workers read all files at once; leave it out"
        )
    with suppress(DataError):  # what cannot be read is said after what the model cannot do
        if tell is not None and (note := read_as(data, options["columns"])):
            tell(note)
    return encode_with_ray(model, data, out, **options)


def build_index(
    model: "Path | str | Representation",
    data: Path | str,
    out: Path | str,
    *,
    layers: Sequence[int] | None = None,
    dim: int | None = None,
    bits: int | None = None,
    kind: str = "auto",
    store: str | None = None,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    passage_words: int | None = None,
    allow_outside: bool = False,
    engine: str = "auto",
    words: str = "text",
    tell: "Callable[[str], None] | None" = None,
    progress: bool = False,
) -> "Index":
    """An index of the documents in ``data``, searchable at each of ``layers`` (default: the full depth).

    ``dim``: only so many dimensions of each vector are kept; ``bits``: of so many only on which side of 0 they lie.
    ``kind`` is how searches begin (``auto`` chooses); ``store`` where documents and vectors are kept instead
    of the folder ``out``. ``passage_words``: the length of passages of documents (default: what the model reads).
    ``allow_outside``: names and links that lead out of the folder ``data`` are followed. ``tell`` is called with which
    columns of a table of texts are taken for what. ``engine``: what computes (representation/engines.py); ``int8`` is
    calibrated on these documents the first time, and the index keeps it for its queries and updates. ``words``: what is
    compared beside vectors: those of the documents' ``text`` by BM25, or those that the ``model`` reads off its vectors.

    Raises:
        ArtifactError: the model gives no vectors; said before the data is looked at.
    """
    from brickwork.index.build import build_index as build_documents
    from brickwork.index.maintenance import check_kind
    from brickwork.training.run import texts_of

    check_kind(kind)
    if words not in ("text", "model"):
        raise ConfigError(f"words is {words!r}; choose text or model")
    if dim is not None and bits is not None:
        raise ConfigError("bits says how many dimensions are kept, as bits: leave dim out")
    representation = _with_engine(model, engine, data, columns, limit, passage_words, allow_outside)
    for depth in layers or ():
        representation.axes.resolve(None, depth)
    representation.axes.resolve(dim or bits, None)
    documents = _documents(representation, data, columns, limit, passage_words, allow_outside, tell)
    return build_documents(
        representation,
        documents,
        Path(out),
        layers=layers,
        dim=dim or bits,
        codec="float32" if bits is None else "bits",
        kind=kind,
        store=store,
        lexical=texts_of(representation) is None,  # a formal language has no words
        model_words=words == "model",
        progress=progress,
    )


def update_index(
    model: "Path | str | Representation",
    data: Path | str,
    folder: Path | str,
    *,
    columns: "ColumnNames | None" = None,
    limit: int | None = None,
    passage_words: int | None = None,
    allow_outside: bool = False,
    tell: "Callable[[str], None] | None" = None,
    progress: bool = False,
) -> tuple["Index", "SyncReport"]:
    """Brings the index in ``folder`` up to date with ``data``: only texts that are new to it are encoded.

    A ``model`` that was trained to replace the one in the index takes over first (see :func:`replace_model`).

    Raises:
        ArtifactError: no index there, a damaged one, or one of another model.
    """
    from brickwork.index.index import open_index
    from brickwork.representation.engines import choose_engine
    from brickwork.representation.load import as_representation

    representation = as_representation(model)
    index = open_index(folder, representation)
    if index.engine != "torch":  # new texts by the engine that computed the others
        choose_engine(representation, "auto", Path(folder) / index.backend.current_manifest().model)
    documents = _documents(representation, data, columns, limit, passage_words, allow_outside, tell)
    return index, index.sync(documents, progress=progress)


def replace_model(model: "Path | str | Representation", folder: Path | str) -> tuple["Index", bool]:
    """Has the index in ``folder`` searched with a compatible successor of its model from now on; no vector changes.

    Returns the index, and whether there was anything to do. Services that serve it take the new model up.

    Raises:
        ArtifactError: no index there, a damaged one, or the model was not trained to replace the one that is there.
    """
    from brickwork.index.index import open_index
    from brickwork.representation.load import as_representation

    index = open_index(folder, as_representation(model))
    return index, index.replace_model()


def read_as(data: Path | str, columns: "ColumnNames | None" = None) -> str:
    """Which columns of a table of documents are taken for what, in words; nothing for what is no table."""
    from brickwork.data.config import ColumnNames
    from brickwork.data.readers.columns import describe, document_columns
    from brickwork.data.readers.files import TABLES, column_names

    path = Path(data).expanduser()
    if not path.is_file() or not any(suffix.lower() in TABLES for suffix in path.suffixes[-2:]):
        return ""
    return describe("documents", document_columns(column_names(path), columns or ColumnNames(), str(path)))


def _documents(
    representation: "Representation",
    data: Path | str,
    columns: "ColumnNames | None",
    limit: int | None,
    passage_words: int | None,
    allow_outside: bool,
    tell: "Callable[[str], None] | None",
) -> "Iterator[Document]":
    """The documents in ``data``, as the model reads them: texts, or images where it encodes those."""
    from brickwork.data.readers.captions import read_image_documents
    from brickwork.index.encoding import image_form

    form = image_form(representation)
    if form is not None:
        return read_image_documents(data, form, columns, limit, allow_outside=allow_outside)
    return _texts(representation, data, columns, limit, passage_words, allow_outside, tell)


def _texts(
    representation: "Representation",
    data: Path | str,
    columns: "ColumnNames | None",
    limit: int | None,
    passage_words: int | None,
    allow_outside: bool,
    tell: "Callable[[str], None] | None",
) -> "Iterator[Document]":
    """The documents in ``data`` as texts, in passages that the model reads whole."""
    from brickwork.data.load import read_documents
    from brickwork.training.run import texts_of

    words, tokens = passage_length(representation, passage_words)
    formal = texts_of(representation)
    # A formal language has a column of its own, which its reader finds.
    if tell is not None and formal is None and (note := read_as(data, columns)):
        tell(note)
    return read_documents(
        data,
        columns=columns,
        limit=limit,
        allow_outside=allow_outside,
        max_passage_words=words,
        max_passage_tokens=tokens,
        texts=formal,
    )


def passage_length(representation: "Representation", words: int | None) -> tuple[int, int | None]:
    """The words and tokens of a passage at most: so many words, or as many tokens as the model reads of a text.

    Raises:
        ConfigError: fewer than ten words.
    """
    from brickwork.data.config import DataConfig

    if words is None:
        return DataConfig.max_passage_words, getattr(representation.encoder, "max_tokens", None)
    if words < 10:
        raise ConfigError(f"passage_words is {words}; use 10 or more")
    return words, None
