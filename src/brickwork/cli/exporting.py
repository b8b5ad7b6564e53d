"""The command that writes a model for other tools: one table of formats, and what each has a use for."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from brickwork.cli import output
from brickwork.cli.options import (
    Dim,
    Layers,
    Model,
    Quiet,
    add,
)
from brickwork.core.errors import ConfigError


class ExportFormat(StrEnum):
    """What a model can be exported to."""

    sentence_transformers = "sentence-transformers"
    onnx = "onnx"
    peft = "peft"
    merged = "merged"
    bricks = "bricks"
    decoder_states = "decoder-states"
    pruned = "pruned"
    dense = "dense"
    word2vec = "word2vec"


# Which options of `export` each format has a use for.
_OPTIONS = {
    ExportFormat.sentence_transformers: ("dim", "layers"),
    ExportFormat.onnx: ("dim", "layers"),
    ExportFormat.peft: ("rank",),
    ExportFormat.merged: ("brick", "rank"),
    ExportFormat.bricks: ("brick",),
    ExportFormat.decoder_states: (),
    ExportFormat.pruned: ("keep",),
    ExportFormat.dense: (),
    ExportFormat.word2vec: (),
}
# What a system writes by a method of its own.
_BY_SYSTEMS = (
    ExportFormat.peft,
    ExportFormat.merged,
    ExportFormat.bricks,
    ExportFormat.pruned,
    ExportFormat.dense,
    ExportFormat.word2vec,
)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    add(
        app,
        export,
        "Use",
        "brickwork export runs/docs --to sentence-transformers --out docs-st/",
        "brickwork export runs/adapted --to peft --rank 4 --out adapter/",
        "brickwork export runs/domains --to merged --brick law+medicine --out law-and-medicine/",
        "brickwork export models/t5 --to decoder-states --out runs/t5-states",
        "brickwork export runs/circuit --to pruned --keep 'p<0.01' --out runs/pruned",
        "brickwork export runs/tickets --to dense --out tickets-model/",
        "brickwork export runs/senses --to word2vec --out senses.vec",
    )


def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="The folder to write; of word2vec a file.", show_default=False)],
    to: Annotated[ExportFormat, typer.Option(help="The format.")] = ExportFormat.sentence_transformers,
    dim: Dim = None,
    layers: Layers = None,
    rank: Annotated[
        int | None, typer.Option(help="Rank of a peft adapter or of merged bricks (default: the largest).")
    ] = None,
    brick: Annotated[
        str | None,
        typer.Option(
            metavar="A|A+B|-A",
            help="Which bricks, for --to bricks or merged (default: all).",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Which parts of a model stay with --to pruned: 'p<0.01', 'effect>0.1', 'top 20'."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a model for other tools, whole or cut to a size; or, of a pretrained encoder-decoder (T5, BART), what its
    decoder thinks of a text as a model of its own, for `index`, `encode`, `evaluate` and `serve`; or the model that a run
    looked into, with only the parts that matter; or a model of groups whole; or vectors of words, as text or (.bin) binary.
    """
    given: dict[str, Any] = {"dim": dim, "layers": layers, "rank": rank, "brick": brick, "keep": keep}
    given = {name: value for name, value in given.items() if value is not None}
    _refuse_idle(to, given)
    if to in _BY_SYSTEMS:
        from brickwork.api import export as export_api

        if to is ExportFormat.peft:
            written = export_api.export_adapter(model, out, **given)
        elif to is ExportFormat.pruned:
            written = export_api.export_pruned(model, out, **given)
        elif to is ExportFormat.dense:
            written = export_api.export_dense(model, out)
        elif to is ExportFormat.word2vec:
            written = export_api.export_word_vectors(model, out)
        else:
            written = export_api.export_bricks(model, out, merged=to is ExportFormat.merged, **given)
        output.line(str(written))
        return
    if to is ExportFormat.decoder_states:
        from brickwork.representation.import_decoder_states import import_decoder_states

        output.line(str(import_decoder_states(model).save(out)))
        return
    from brickwork.representation.load import load_representation

    representation = load_representation(model)
    if to is ExportFormat.onnx:
        from brickwork.representation.export_onnx import export_onnx

        export_onnx(representation, out, dim=dim, layers=layers)
    else:
        from brickwork.representation.export_sentence_transformers import export_sentence_transformers

        export_sentence_transformers(representation, out, dim=dim, layers=layers)
    output.line(str(out))


def _refuse_idle(to: ExportFormat, given: Mapping[str, Any]) -> None:
    """Raises ConfigError for an option that the format has no use for."""
    for name in given:
        if name not in _OPTIONS[to]:
            others = ", ".join(other.value for other, options in _OPTIONS.items() if name in options)
            raise ConfigError(
                f"--{name} has no effect with --to {to.value}: leave it out (it is for {others})"
            )
    if to is ExportFormat.pruned and not given:
        raise ConfigError("--to pruned needs --keep, which parts stay: --keep 'p<0.01', --keep 'top 20'")
