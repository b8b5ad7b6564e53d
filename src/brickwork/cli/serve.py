"""``brickwork serve``: answer over HTTP."""

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brickwork.cli import output
from brickwork.cli.options import Quiet, add

if TYPE_CHECKING:
    from brickwork.service.process import Started


def register(app: typer.Typer) -> None:
    """Adds the command of this module."""
    add(
        app,
        serve,
        "Use",
        "brickwork serve runs/docs-index",
        "brickwork serve runs/docs --port 8080 --workers 2",
        "brickwork serve runs/docs-index --host 0.0.0.0 --api-key-file keys.txt",
    )


def serve(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_OR_INDEX",
            help="The folder of an index, of a run or of a SentenceTransformer.",
            show_default=False,
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="The address to listen at; a public one needs API keys.")
    ] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with the model in memory.")] = 1,
    name: Annotated[
        str | None,
        typer.Option(help="What requests call the model (default: the folder's name, or 'default')."),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with one API key a line; clients send one as 'Authorization: Bearer KEY'. "
            "Also: the variable BRICKWORK_API_KEYS.",
        ),
    ] = None,
    cut_long: Annotated[
        bool,
        typer.Option("--cut-long", help="Cut texts longer than the model reads instead of refusing them."),
    ] = False,
    max_batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens computed at a time (default: what suits the device).")
    ] = None,
    max_queue_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens that may wait; beyond that, requests are answered by 429.")
    ] = 65_536,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds after which a request is answered by 503.")
    ] = 60.0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of each worker for the model (default: all cores, shared)."),
    ] = None,
    rerank: Annotated[
        str | None,
        typer.Option(
            help="A cross-encoder (folder or hub id) by which searches may have their best hits read again.",
            metavar="MODEL",
            show_default=False,
        ),
    ] = None,
    rerank_revision: Annotated[
        str | None,
        typer.Option(help="With --rerank ID: the commit, branch or tag of the model.", show_default=False),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            metavar="auto|torch|int8",
            help="What computes, of a MODEL: int8 once it was calibrated by encode or index; an index keeps its own.",
        ),
    ] = "auto",
    quiet: Quiet = False,
) -> None:
    """Serve a model or an index over HTTP: OpenAI-compatible embeddings, search, a page to try it.

    Ctrl-C or SIGTERM finishes what was accepted, then stops. SIGHUP loads the model and the index again.
    """
    from brickwork.service.config import Limits, ServiceConfig
    from brickwork.service.keys import VARIABLE, read_keys
    from brickwork.service.server import serve as serve_until_stopped

    limits = Limits(batch_tokens=max_batch_tokens, queue_tokens=max_queue_tokens, request_seconds=timeout)
    config = ServiceConfig(
        target=target,
        name=name,
        host=host,
        port=port,
        workers=workers,
        threads=threads,
        keys=read_keys(api_key_file, os.environ.get(VARIABLE)),
        cut_long=cut_long,
        rerank=rerank,
        rerank_revision=rerank_revision,
        engine=engine,
        quiet=quiet,
        limits=limits,
    )
    serve_until_stopped(config, lambda started: _announce(started, quiet))


def _announce(started: "Started", quiet: bool) -> None:
    print(started.url, flush=True)
    what = f"model {started.model}: dims {list(started.dims)}, layers {list(started.layers)}"
    if started.documents is not None:
        what += f", {started.documents:,} documents"
    keys = f"API keys: {started.keys}" if started.keys else "no API keys: this machine only"
    output.hint(f"{what}\n{keys}; workers: {started.workers}; stop with Ctrl-C", quiet)
    commands = {
        "embed": _curl(started, "/v1/embeddings", {"model": started.model, "input": ["a text"]}),
        "see what there is": f"{started.url}/docs",
    }
    if started.documents is not None:
        commands = {
            "open the search page": f"{started.url}/",
            "search": _curl(started, "/v1/search", {"query": "your question", "top": 5}),
            **commands,
        }
    output.next_commands(commands, quiet)


def _curl(started: "Started", path: str, body: dict[str, object]) -> str:
    key = '-H "Authorization: Bearer $KEY" ' if started.keys else ""
    return f"curl {started.url}{path} {key}-H 'Content-Type: application/json' -d {shlex.quote(json.dumps(body))}"
