"""What requests and answers look like; the OpenAPI description is made from these."""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_TEXTS = 2048
MAX_TOP = 1000
MAX_QUERIES = 256
MAX_RERANK = 200
MAX_NEIGHBOURS = 5
MAX_EXPLAIN = 20
# Largest number that a size may have, so that it fits everything that reads JSON.
_LARGEST = 2**31 - 1


def _texts(most: int) -> Callable[[Any], Any]:
    """Refuses what is neither a text nor a list of at most so many; token ids with words of their own."""

    def check(value: Any) -> Any:
        texts = value if isinstance(value, list) else [value]
        if not texts:
            raise PydanticCustomError("texts_empty", "the list is empty; give at least one string")
        if len(texts) > most:
            raise PydanticCustomError(
                "texts_many",
                "{given} items are more than the {most} that one request may have",
                {"given": len(texts), "most": most},
            )
        for row, text in enumerate(texts):
            place = f"item {row}" if value is texts else "the value"
            if isinstance(text, int | list) and not isinstance(text, bool):
                raise _token_ids()
            if not isinstance(text, str):
                raise PydanticCustomError(
                    "texts_type",
                    "{place} is not a string; expected a string or a list of strings",
                    {"place": place},
                )
            if not text.strip():
                message = (
                    "{place} is empty; leave it out" if value is texts else "the text is empty; give one"
                )
                raise PydanticCustomError("texts_empty", message, {"place": place})
        return value

    return check


def _token_ids() -> PydanticCustomError:
    return PydanticCustomError(
        "token_ids",
        "token ids are not accepted, because they would be those of another tokenizer: send the text itself "
        "(LangChain: OpenAIEmbeddings(check_embedding_ctx_length=False))",
    )


def _finite(value: Any) -> Any:
    """Refuses numbers that JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("number_value", "expected a finite number")
    return value


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[
    Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)],
    BeforeValidator(_texts(MAX_TEXTS)),
]
Queries = Annotated[
    Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_QUERIES)],
    BeforeValidator(_texts(MAX_QUERIES)),
]
Size = Annotated[int, Field(ge=1, le=_LARGEST, strict=True)]
Depth = Annotated[int, Field(ge=0, le=_LARGEST, strict=True)]


class EmbeddingRequest(BaseModel):
    """OpenAI's request, and ``layers``."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"model": "default", "input": ["a text", "another"], "dimensions": 96}]
        },
    )

    model: Annotated[
        str, Field(description="An id of /v1/models, its fingerprint, or 'default'.", max_length=256)
    ]
    input: Annotated[Texts, Field(description="A text or a list of texts; token ids are refused.")]
    dimensions: Annotated[
        Size | None, Field(description="Dimensions of each vector: cut there, then scaled to length 1.")
    ] = None
    layers: Annotated[Depth | None, Field(description="Layers of the encoder to run: fewer are faster.")] = (
        None
    )
    input_type: Annotated[
        Literal["query", "document"] | None,
        Field(
            description="What the texts are, for models that want another prompt before queries than before documents."
        ),
    ] = None
    encoding_format: Annotated[
        Literal["float", "base64"] | None,
        Field(description="Numbers, or the bytes of little-endian float32 in base64."),
    ] = "float"
    user: Annotated[str | None, Field(description="Taken as OpenAI does; neither used nor logged.")] = None


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class SearchRequest(BaseModel):
    """A question to the index, at the size and cost that one wants."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"query": "how do I resume a run?", "top": 5, "dim": 96}]},
    )

    query: Annotated[
        Queries | None, Field(description="A query or a list of queries; may be left out with an image.")
    ] = None
    image: Annotated[
        str | None,
        Field(
            min_length=1,
            description="An image file (PNG, JPEG, WebP …) in base64 to look for, alone or together with each query; "
            "for models with an image_shape.",
        ),
    ] = None
    text_weight: Annotated[
        float | None,
        Field(
            description="With both: how much of the query is added to the image, 1 if left out; below 0 takes away."
        ),
        BeforeValidator(_finite),
    ] = None
    mode: Annotated[
        Literal["hybrid", "dense", "lexical"] | None,
        Field(
            description="What is compared: vectors (dense), words by BM25 (lexical), or both (hybrid, the default where the "
            "index has words)."
        ),
    ] = None
    dense_weight: Annotated[
        float | None,
        Field(ge=0, le=1, description="Of a hybrid search: how much the vectors count, 0.5 if left out."),
        BeforeValidator(_finite),
    ] = None
    fusion: Annotated[
        Literal["scores", "ranks"] | None,
        Field(description="Of a hybrid search: standardised scores are added, or reciprocal ranks."),
    ] = None
    top: Annotated[int, Field(ge=1, le=MAX_TOP, strict=True, description="Results for each query.")] = 10
    dim: Annotated[Size | None, Field(description="Dimensions of each vector to compare.")] = None
    layers: Annotated[
        Depth | None, Field(description="Layers of the encoder to run; one of the model's depths.")
    ] = None
    shortlist: Annotated[
        Size | None, Field(description="Find this many on a short prefix first, then order them at dim.")
    ] = None
    where: Annotated[
        dict[str, Any] | str | None,
        Field(
            description="A filter: {'source': 'guide.md', 'year': {'gte': 2020}} or 'source=guide.md, year>=2020'."
        ),
    ] = None
    recall: Annotated[
        float | None,
        Field(gt=0, le=1, description="The cheapest setting with this recall against the exact search."),
        BeforeValidator(_finite),
    ] = None
    budget_ms: Annotated[
        float | None,
        Field(gt=0, description="The best setting within this many milliseconds for each query."),
        BeforeValidator(_finite),
    ] = None

    rerank: Annotated[
        bool,
        Field(description="Have the best hits read again by the reranker that the server was started with."),
    ] = False
    rerank_top: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_RERANK,
            strict=True,
            description="With rerank: how many hits it reads, 50 if left out.",
        ),
    ] = None
    group_by: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            description="Only the best hit of each value of this field ('source': of each file), with the 'others' in it.",
        ),
    ] = None
    neighbours: Annotated[
        int,
        Field(
            ge=0, le=MAX_NEIGHBOURS, strict=True, description="Passages to give before and after each hit."
        ),
    ] = 0
    explain: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_EXPLAIN,
            strict=True,
            description="So many words that connect the query with each hit, of a model that reads words.",
        ),
    ] = 0


class Passage(BaseModel):
    """A passage before or after a hit, in the same source."""

    id: str
    title: str
    text: str


class ConnectingWord(BaseModel):
    """A word that connects a query with a hit, with its ``share`` of what connects them; ``where``: ``in both texts``, or
    ``only meant``."""

    word: str
    share: float
    where: str


class SearchHit(BaseModel):
    """``score`` is what hits are ordered by; ``dense`` (cosine) and ``lexical`` (BM25) are what was compared.
    ``first_score``, ``others``, ``before`` and ``after``, and ``words`` are there where hits were reranked, grouped, asked
    for with their neighbours, or explained."""

    id: str
    score: float
    dense: float | None
    lexical: float | None
    title: str
    text: str
    source: str
    meta: dict[str, Any]
    thumbnail: Annotated[
        str | None, Field(description="Of an image: where on this server a small JPEG of it is.")
    ] = None
    first_score: Annotated[float | None, Field(description="The score before reranking.")] = None
    others: Annotated[
        list["SearchHit"] | None, Field(description="The other hits of its group, best first.")
    ] = None
    before: list[Passage] | None = None
    after: list[Passage] | None = None
    words: Annotated[
        list[ConnectingWord] | None, Field(description="The words that connect it with the query.")
    ] = None


class Cost(BaseModel):
    """Of the comparisons for one query."""

    flops: int
    bytes_scanned: int


class Milliseconds(BaseModel):
    """``encode``, ``scan`` and ``rerank`` as the models and the index took them; ``total`` with waiting."""

    encode: float
    scan: float
    rerank: float
    total: float


class SearchResponse(BaseModel):
    """``dim``, ``layers``, ``kind`` and ``stages`` say how vectors were compared: 0, empty and none in a lexical search."""

    object: Literal["search.results"]
    results: list[list[SearchHit]]
    mode: Literal["hybrid", "dense", "lexical"]
    dense_weight: float | None
    fusion: str | None
    dim: int
    layers: int
    kind: str
    stages: list[tuple[int, int]]
    documents: int
    reranked: Annotated[int, Field(description="How many hits of a query, at most, the reranker read.")]
    cost: Cost
    milliseconds: Milliseconds
    notes: list[str]
    model: str


class StartingSize(BaseModel):
    """The smallest size that keeps 98 % of full size's ``metric`` in searches of ``mode`` (vectors alone, or with words), as
    the model's training measured it: on the worst of its ``tasks`` it ``kept`` this share."""

    dim: int
    layers: int
    kept: float
    metric: str
    tasks: list[str]
    mode: Literal["hybrid", "dense"]


class Model(BaseModel):
    """OpenAI's entry, and the sizes; ``depths``, ``fields`` and ``modes`` are those that a search can ask for, ``reranker``
    the model that it can have hits read by again, ``opens_at`` the smallest size that was measured to be good enough.
    ``image_shape``: height, width and channels that images are scaled to, where the model encodes any."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    fingerprint: str
    dims: list[int]
    layers: list[int]
    max_tokens: int | None
    image_shape: list[int] | None = None
    documents: int | None = None
    depths: list[int] | None = None
    fields: list[str] | None = None
    modes: list[str] | None = None
    reranker: str | None = None
    opens_at: StartingSize | None = None


class Neighbours(BaseModel):
    """The passages around one, in reading order."""

    object: Literal["neighbours"]
    before: list[Passage]
    after: list[Passage]


class ModelList(BaseModel):
    object: Literal["list"]
    data: list[Model]


class Health(BaseModel):
    status: Literal["ok", "starting", "draining", "failed"]


class Reload(BaseModel):
    object: Literal["reload"]
    model: str
    documents: int | None = None


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """OpenAI's error object."""

    error: ErrorDetail
