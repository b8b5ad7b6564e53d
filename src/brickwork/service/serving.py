"""What is served: a model, or an index with its model; loaded, asked in batches, exchanged for a newer state."""

import base64
import hashlib
import io
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from brickwork.core.errors import ArtifactError, ConfigError, DataError, NonFiniteError
from brickwork.core.folders import known_folder
from brickwork.core.types import TokenBatch
from brickwork.encoders.prompts import Role
from brickwork.encoders.text import join_tokens
from brickwork.encoders.tokenization import encode_texts
from brickwork.index.manifest import MANIFEST, read_manifest
from brickwork.representation.batches import fill_up
from brickwork.representation.encode import check_inputs
from brickwork.representation.inference import device_of, for_inference
from brickwork.service.batching import Piece
from brickwork.service.starting_size import starting_size

if TYPE_CHECKING:
    from brickwork.index.encoding import Query
    from brickwork.index.index import Answer, Index
    from brickwork.index.reranking import Reranker
    from brickwork.representation.model import Representation


@dataclass(frozen=True, eq=False)
class Served:
    """A loaded model and, where an index is served, that index. Exchanged as a whole, never changed."""

    id: str
    representation: "Representation"
    index: "Index | None" = None
    reranker: "Reranker | None" = None
    created: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def fingerprint(self) -> str:
        return self.representation.fingerprint

    @cached_property
    def model(self) -> torch.nn.Module:
        """The encoder as it runs: in bf16 where that pays."""
        encoder = self.representation.encoder.eval()
        with for_inference(encoder) as model:
            return model

    @property
    def names(self) -> tuple[str, ...]:
        """What requests may call the model."""
        return (self.id, self.fingerprint, "default")

    @property
    def max_tokens(self) -> int:
        return int(self.representation.encoder.max_tokens)

    def tokenize(self, texts: Sequence[str], *, cut_long: bool, role: Role | None = None) -> TokenBatch:
        """The tokens of ``texts``, behind the prompt that the model wants for their role.

        Raises:
            DataError: a text is longer than the model reads, unless ``cut_long``, or cannot be read; gives its row.
        """
        encoder = self.representation.encoder
        check_inputs(encoder, texts)
        texts = self.representation.prompted(list(texts), role)
        tokens: TokenBatch = encoder.tokenize(texts)
        if not cut_long:
            marks = encoder.body.kind != "static"
            for row in (tokens.lengths >= encoder.max_tokens).nonzero().flatten().tolist():
                if encode_texts(encoder.tokenizer, [texts[row]], encoder.max_tokens, marks)[1]:
                    raise DataError(
                        f"text {row} is longer than the {encoder.max_tokens} tokens that this model reads; split it "
                        "into passages, or have the server started with --cut-long"
                    )
        return tokens

    def decoded_image(self, encoded: str) -> UInt8[np.ndarray, "height width channels"]:
        """An image file in base64 as the model takes it.

        Raises:
            ConfigError: the model encodes no images.
            DataError: no base64, no image, a damaged one, or one of too many pixels.
        """
        from brickwork.data.readers.images import decode
        from brickwork.index.encoding import image_form

        form = image_form(self.representation)
        if form is None:
            raise ConfigError("this server's model encodes texts only: leave the image out")
        try:
            content = base64.b64decode(encoded, validate=True)
        except ValueError:
            raise DataError(
                "the image is not in base64; send the bytes of the file, and no data: URL"
            ) from None
        try:
            return decode(io.BytesIO(content), form)
        except DataError as error:
            raise DataError(f"the image cannot be used: {error}") from None

    def vectors(self, tokens: TokenBatch, layers: int) -> Float32[np.ndarray, "texts width"]:
        """One pass: full width, not normalised."""
        with torch.inference_mode():
            pooled = self.model(fill_up(tokens).to(device_of(self.model)), (layers,))[layers]
            return pooled[: len(tokens), : self.representation.axes.full_dim].float().cpu().numpy()

    def describe(self) -> dict[str, Any]:
        """The entry in the list of models; the index is asked, so this is for the thread of the batches."""
        from brickwork.index.encoding import image_shape

        axes = self.representation.axes
        entry: dict[str, Any] = {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": "brickwork",
            "fingerprint": self.fingerprint,
            "dims": axes.dims,
            "layers": axes.layers,
            "max_tokens": self.max_tokens,
            "image_shape": image_shape(self.representation),
        }
        if self.index is not None:
            entry["documents"] = len(self.index)
            entry["depths"] = self.index.contents.depths
            statistics = self.index.statistics()
            entry["fields"], entry["modes"] = statistics.fields, statistics.modes
            opens_at = starting_size(
                self.representation.card,
                axes.dims,
                self.index.contents.depths,
                words="hybrid" in statistics.modes,
            )
            entry["opens_at"] = None if opens_at is None else asdict(opens_at)
            entry["reranker"] = self.reranker.name if self.reranker is not None else None
        return entry

    def close(self) -> None:
        if self.index is not None:
            self.index.close()


@dataclass(frozen=True, eq=False)
class EmbedWork:
    """Texts to encode after ``layers`` layers; the vectors are full ones, cut and scaled by who asked."""

    served: Served
    tokens: TokenBatch
    layers: int

    @property
    def key(self) -> tuple[Any, ...]:
        return ("embed", id(self.served), self.layers)

    def run(self, pieces: list[Piece]) -> list[Float32[np.ndarray, "_texts width"]]:
        """One array a piece: full width, not normalised.

        Raises:
            NonFiniteError: the model gave NaN or infinity.
        """
        parts = [piece.work.request.tokens.slice(piece.start, piece.stop) for piece in pieces]
        vectors = self.served.vectors(join_tokens(parts), self.layers)
        if not np.isfinite(vectors).all():
            raise NonFiniteError("the model gave a vector that is not finite; its weights are damaged")
        return np.split(vectors, np.cumsum([len(part) for part in parts])[:-1])


@dataclass(frozen=True, eq=False)
class SearchWork:
    """Queries to answer from the index, with the options of the search; ``rerank``: by the server's reranker."""

    served: Served
    queries: "Sequence[str | Query]"
    top: int
    options: dict[str, Any]
    rerank: bool = False

    @property
    def key(self) -> tuple[Any, ...]:
        return ("search", id(self.served), self.top, self.rerank, repr(sorted(self.options.items())))

    def run(self, pieces: list[Piece]) -> "list[tuple[Answer, list[Any], int]]":
        """The answer to the whole batch, the hits of each piece, and how many documents there are."""
        assert self.served.index is not None
        queries = [
            query for piece in pieces for query in piece.work.request.queries[piece.start : piece.stop]
        ]
        reranker = self.served.reranker if self.rerank else None
        answer = self.served.index.answer(queries, self.top, rerank=reranker, **self.options)
        results, start, count = [], 0, len(self.served.index)
        for piece in pieces:
            stop = start + piece.stop - piece.start
            results.append((answer, answer.hits[start:stop], count))
            start = stop
        return results


def load_served(
    target: str,
    name: str | None = None,
    rerank: str | None = None,
    rerank_revision: str | None = None,
    engine: str = "auto",
) -> Served:
    """The model or index in ``target``, ready to answer: weights in memory, each kind of pass made once. ``rerank`` is the
    folder or hub id of a cross-encoder for searches; ``engine`` is what computes, of a model.

    Raises:
        ArtifactError: nothing there, or it is damaged.
        ConfigError: a model that does not encode texts, a reranker for what is no index, or an engine for one.
        MissingExtraError: the engine is not installed.
    """
    path = Path(target)
    label = name or path.resolve().name if path.exists() else name or target
    if known_folder(path).kind == "index":
        from brickwork.index.index import open_index

        if engine != "auto":
            raise ConfigError(
                "--engine has no effect with an index, which keeps the one that made it; leave it out"
            )
        index = open_index(path)
        served = Served(label, index.representation, index, _reranker(rerank, rerank_revision))
    elif rerank is not None:
        raise ConfigError(f"--rerank has an effect only with an index, and {target} is none; leave it out")
    else:
        from brickwork.representation.load import load_representation

        served = Served(label, load_representation(target, engine=engine))
    encoder = served.representation.encoder
    if not hasattr(encoder, "tokenize"):
        raise ConfigError(f"{target} encodes {encoder.kind}s; a server takes models of texts")
    for layers in served.representation.axes.layers:
        served.vectors(encoder.tokenize(["warm up"]), layers)
    if served.index is not None:
        served.index.answer("warm up", 1)
    assert served.fingerprint  # computed now, not while somebody waits
    return served


def _reranker(rerank: str | None, revision: str | None) -> "Reranker | None":
    """The reranker of a server, which has read a pair once."""
    if rerank is None:
        return None
    from brickwork.index.reranking import Reranker

    reranker = Reranker.load(rerank, revision)
    reranker.scores([("warm up", "warm up")])
    return reranker


def state_on_disk(target: str) -> str | None:
    """Changes whenever a newer state of the index was committed; ``None`` for a model."""
    manifest = Path(target) / MANIFEST
    try:
        content = manifest.read_bytes()
    except OSError:
        return None
    return hashlib.sha256(content).hexdigest()


def model_on_disk(target: str) -> str | None:
    """The fingerprint of the model that the newest state of the index is searched with; ``None`` if it cannot be read."""
    try:
        return read_manifest(Path(target)).model_now
    except ArtifactError:
        return None


def as_base64(vector: Float32[np.ndarray, " dim"]) -> str:
    """The bytes of little-endian float32 in base64, OpenAI's compact form."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")
