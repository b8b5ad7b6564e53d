"""The addresses of the service: how a request becomes work, and work an answer."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from pydantic_core import to_json
from starlette.exceptions import HTTPException as StarletteHTTPException

import brickwork
from brickwork.core.errors import BrickworkError
from brickwork.index.refinement import RERANK_TOP
from brickwork.representation.truncate import truncate
from brickwork.service import errors, schemas
from brickwork.service.batching import Work
from brickwork.service.errors import ApiError
from brickwork.service.middleware import Gate
from brickwork.service.neighbours import add_neighbours
from brickwork.service.pages import API_PAGE_POLICY, PAGE, api_page
from brickwork.service.serving import EmbedWork, SearchWork, Served, as_base64
from brickwork.service.state import ClientLeft, Service
from brickwork.service.thumbnails import add_thumbnails, as_json

if TYPE_CHECKING:
    from brickwork.index.encoding import Query

# Answers of more than that are written in another thread: the event loop would stand still for everybody else.
_FEW_TEXTS = 16
_FEW_HITS = 100
_PAIR_TOKENS = 256  # of a query and a passage, as the queue counts them before they are read
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": schemas.Error, "description": "The request cannot be answered as it is."},
    "5XX": {"model": schemas.Error, "description": "The server failed or could not answer in time."},
}


def make_app(service: Service, on_ready: Callable[[Service], None] = lambda service: None) -> FastAPI:
    """The application over ``service``, which it starts and stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        on_ready(service)
        yield
        await service.stop()

    app = FastAPI(
        title="Brickwork",
        version=brickwork.__version__,
        description="Embeddings and search at the size that you ask for.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    config = service.config
    app.add_middleware(
        Gate,
        keys=config.keys,
        limits=config.limits,
        metrics=service.metrics,
        is_full=service.refusal,
        is_ending=lambda: service.ending,
    )
    handlers: dict[Any, Any] = {
        StarletteHTTPException: lambda request, error: errors.from_http(error),
        RequestValidationError: lambda request, error: errors.from_validation(list(error.errors())),
        BrickworkError: lambda request, error: errors.from_brickwork(error),
        ClientLeft: lambda request, error: Response(status_code=499),
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, _asynchronous(handler))
    _add_api(app, service)
    add_thumbnails(app, service, _ERRORS)
    add_neighbours(app, service, _ERRORS)
    _add_operations(app, service)
    _add_pages(app)
    return app


def _asynchronous(handler: Callable[[Request, Any], Response]) -> Callable[[Request, Any], Any]:
    """As a coroutine, so that it does not take a thread."""

    async def handle(request: Request, error: Any) -> Response:
        return handler(request, error)

    return handle


def _add_api(app: FastAPI, service: Service) -> None:
    key = [Security(HTTPBearer(auto_error=False))] if service.config.keys else []

    @app.post(
        "/v1/embeddings",
        responses={200: {"model": schemas.EmbeddingResponse}, **_ERRORS},
        tags=["API"],
        dependencies=key,
    )
    async def embeddings(body: schemas.EmbeddingRequest, request: Request) -> Response:
        """The vectors of texts, as OpenAI's service gives them: unit length, in the order of the texts."""
        with service.using(body.model) as served:
            dim, layers = _size(served, "dimensions", body.dimensions, body.layers)
            texts = [body.input] if isinstance(body.input, str) else body.input
            tokens = await service.tokenize(served, texts, "input", body.input_type)
            embedding_work = EmbedWork(served, tokens, layers)
            work = Work(embedding_work.key, tokens.lengths.tolist(), embedding_work)
            _note(request, work, len(tokens.ids))
            matrix = np.concatenate(await service.do(work, request))
            request.scope["facts"]["wait_ms"] = round(work.waited_milliseconds or 0.0, 2)

            def render() -> bytes:
                vectors = truncate(matrix, dim)
                encoded: list[Any] = (
                    [as_base64(vector) for vector in vectors]
                    if body.encoding_format == "base64"
                    else vectors.tolist()
                )
                data = [
                    {"object": "embedding", "index": row, "embedding": vector}
                    for row, vector in enumerate(encoded)
                ]
                usage = {"prompt_tokens": len(tokens.ids), "total_tokens": len(tokens.ids)}
                return to_json({"object": "list", "data": data, "model": served.id, "usage": usage})

            content = render() if len(texts) <= _FEW_TEXTS else await service.aside(render)
            return Response(content, media_type="application/json")

    @app.post(
        "/v1/search",
        responses={200: {"model": schemas.SearchResponse}, **_ERRORS},
        tags=["API"],
        dependencies=key,
        include_in_schema=service.served.index is not None,
    )
    async def search(body: schemas.SearchRequest, request: Request) -> Response:
        """The best documents of each query, with what it cost to find them."""
        started = perf_counter()
        with service.using(None) as served:
            if served.index is None:
                raise ApiError(
                    404,
                    "This server has a model and no index: start it with the folder of an index to search.",
                )
            dim, layers = body.dim, body.layers
            _size(served, "dim", dim, layers)
            queries = await _queries(service, served, body)
            texts = [query if isinstance(query, str) else query.text for query in queries]
            lengths = [1] * len(texts)
            if body.mode != "lexical":
                lengths = (
                    (await service.tokenize(served, texts, "query", "query")).lengths.clamp(min=1).tolist()
                )
            if body.rerank:
                lengths = _with_reranking(service, served, body, lengths)
            names = (
                "shortlist", "where", "recall", "budget_ms", "mode", "dense_weight", "fusion", "rerank_top", "group_by",
            )  # fmt: skip
            chosen = {name: value for name in names if (value := getattr(body, name)) is not None}
            asked = {"neighbours": body.neighbours, "explain": body.explain}
            options = {"dim": dim, "layers": layers, **asked, **chosen}
            search_work = SearchWork(served, queries, body.top, options, body.rerank)
            work = Work(search_work.key, lengths, search_work)
            _note(request, work, sum(lengths))
            results = await service.do(work, request)
            request.scope["facts"]["wait_ms"] = round(work.waited_milliseconds or 0.0, 2)
            answer, _, documents = results[0]
            found = [hits for _, part, _ in results for hits in part]
            content = {
                "object": "search.results",
                "dim": answer.dim,
                "layers": answer.layers,
                "kind": answer.plan.kind if answer.plan else "",
                "mode": answer.mode,
                "dense_weight": answer.fusion.dense_weight if answer.fusion else None,
                "fusion": answer.fusion.by if answer.fusion else None,
                "stages": answer.stages,
                "documents": documents,
                "reranked": max(each.reranked for each, _, _ in results),
                "cost": {"flops": answer.flops, "bytes_scanned": answer.bytes_scanned},
                "milliseconds": {
                    "encode": round(sum(each.encode_milliseconds for each, _, _ in results), 3),
                    "scan": round(sum(each.scan_milliseconds for each, _, _ in results), 3),
                    "rerank": round(sum(each.rerank_milliseconds for each, _, _ in results), 3),
                    "total": round(1000 * (perf_counter() - started), 3),
                },
                "notes": answer.notes,
                "model": served.id,
            }

            def render() -> bytes:
                shown = [[as_json(hit) for hit in hits] for hits in found]
                return to_json({**content, "results": shown}, inf_nan_mode="null", fallback=str)

            few = sum(map(len, found)) <= _FEW_HITS
            rendered = render() if few else await service.aside(render)
            return Response(rendered, media_type="application/json")

    @app.get("/v1/models/", include_in_schema=False)  # which would be the model without a name
    @app.get(
        "/v1/models",
        response_model=schemas.ModelList,
        response_model_exclude_none=True,
        responses=_ERRORS,
        tags=["API"],
        dependencies=key,
    )
    async def models() -> Any:
        """What is served, and the sizes it can be asked for."""
        with service.using(None) as served:
            return {"object": "list", "data": [await service.between(served.describe)]}

    @app.get(
        "/v1/models/{model:path}",
        response_model=schemas.Model,
        response_model_exclude_none=True,
        responses=_ERRORS,
        tags=["API"],
        dependencies=key,
    )
    async def model(model: str) -> Any:
        """One entry of the list."""
        with service.using(model) as served:
            return await service.between(served.describe)


def _add_operations(app: FastAPI, service: Service) -> None:
    key = [Security(HTTPBearer(auto_error=False))] if service.config.keys else []

    async def health(response: Response) -> Any:
        """Whether requests are answered."""
        alive = service.batcher.alive
        response.status_code = 200 if alive else 503
        return {"status": "ok" if alive else "failed"}

    unwell: dict[int | str, dict[str, Any]] = {503: {"model": schemas.Health}}
    for path in ("/health", "/health/live", "/health/ready"):
        app.get(path, response_model=schemas.Health, responses=unwell, tags=["Operation"])(health)

    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}

    @app.get(
        "/metrics",
        responses={200: text, **_ERRORS},
        response_class=Response,
        tags=["Operation"],
        dependencies=key,
    )
    async def metrics() -> Response:
        """Counters in Prometheus' form."""
        content, media_type = service.metrics.page(service.batcher)
        return Response(content, media_type=media_type)

    @app.post(
        "/admin/reload",
        response_model=schemas.Reload,
        responses=_ERRORS,
        tags=["Operation"],
        dependencies=key,
    )
    async def reload() -> Any:
        """Serves what is on disk now; nothing under way is lost."""
        if not service.config.keys:
            raise ApiError(
                403,
                "Reloading over HTTP needs an API key; send the server's process a SIGHUP instead.",
                code="no_keys",
            )
        try:
            await service.reload()
        except BrickworkError as error:
            raise ApiError(
                409, f"{error}. What was served before still is.", type="server_error", code="reload_failed"
            ) from error
        if service.config.workers > 1:  # the parent tells all workers
            os.kill(os.getppid(), signal.SIGHUP)
        return {"object": "reload", "model": service.served.id, "documents": service.documents}


def _add_pages(app: FastAPI) -> None:
    """The search page and the description of the API: files of this package, nothing from elsewhere."""

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        file = PAGE / "index.html"
        return FileResponse(file) if file.is_file() else await docs()

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(api_page(app.openapi()), headers={"Content-Security-Policy": API_PAGE_POLICY})

    app.mount("/page", StaticFiles(directory=PAGE, check_dir=False), name="page")


def _size(served: Served, name: str, dim: int | None, layers: int | None) -> tuple[int, int]:
    """The size asked for, in dimensions and layers.

    Raises:
        ApiError: 400, if the model does not have it; ``name`` is what the request calls ``dim``.
    """
    axes = served.representation.axes
    for param, value, trained in ((name, dim, axes.dims), ("layers", layers, axes.layers)):
        least = min(1, trained[0])
        if value is not None and not least <= value <= trained[-1]:
            raise ApiError(
                400,
                f"{param}={value} is outside {least} … {trained[-1]}; trained: {list(trained)}.",
                param=param,
                code="invalid_value",
            )
    return axes.resolve(dim, layers)[:2]


async def _queries(service: Service, served: Served, body: schemas.SearchRequest) -> "list[str | Query]":
    """What to look for: each query, with the image where there is one.

    Raises:
        ApiError: 400, for neither, for an image that cannot be used, or a weight that has no effect.
    """
    from brickwork.index.encoding import Query

    texts = [body.query] if isinstance(body.query, str) else body.query or []
    if not texts and body.image is None:
        raise ApiError(400, "'query' is missing.", param="query", code="missing_required_parameter")
    if body.text_weight is not None and (not texts or body.image is None):
        message = "'text_weight' has an effect only with a query and an image; leave it out."
        raise ApiError(400, message, param="text_weight", code="invalid_value")
    if body.image is None:
        return list(texts)
    try:
        image = await service.aside(served.decoded_image, body.image)
    except BrickworkError as error:
        raise ApiError(400, f"'image': {error}.", param="image", code="invalid_value") from error
    weight = 1.0 if body.text_weight is None else body.text_weight
    return [Query(text, image, weight) for text in texts or [""]]


def _with_reranking(
    service: Service, served: Served, body: schemas.SearchRequest, lengths: list[int]
) -> list[int]:
    """The tokens of each query with those of the pairs that the reranker reads, by estimate: what the queue counts.

    Raises:
        ApiError: 400, where there is no reranker, or for more than the queue ever takes.
    """
    if served.reranker is None:
        message = (
            "This server was started without a reranker; start it with --rerank MODEL, or leave 'rerank' out."
        )
        raise ApiError(400, message, param="rerank", code="invalid_value")
    pairs = max(body.top, body.rerank_top or RERANK_TOP)
    tokens = pairs * min(served.reranker.model.max_tokens, _PAIR_TOKENS)
    total, most = sum(lengths) + len(lengths) * tokens, service.config.limits.queue_tokens
    if total > most:
        raise ApiError(
            400,
            f"Reranking {pairs} hits of {len(lengths)} queries reads about {total:,} tokens; at most {most:,} are taken at "
            "a time. Send fewer queries, or make rerank_top smaller.",
            param="rerank_top",
            code="max_tokens_per_request",
        )
    return [length + tokens for length in lengths]


def _note(request: Request, work: Work, tokens: int) -> None:
    """What the log line tells of a request: how much it was, never what."""
    request.scope["facts"].update(texts=len(work.tokens), tokens=tokens)
