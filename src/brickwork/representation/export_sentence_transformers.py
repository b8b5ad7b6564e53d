"""A folder that ``sentence_transformers.SentenceTransformer(folder)`` opens, with the same vectors.

Written file by file from that library's format, so it need not be installed. A cut in ``dim`` leaves rows of the last
Dense module out, or becomes one that keeps the first dimensions, before Normalize: the library's own ``truncate_dim`` would
cut after it and leave vectors that are not of length 1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import atomic_folder, refuse_filled, save_tensors, write_json, write_text
from brickwork.encoders.bert import bert_config, to_bert_state_dict
from brickwork.encoders.dense import Dense, DenseShape
from brickwork.encoders.folder_tokenizer import BERT_MARKS
from brickwork.encoders.hub import HubTransformer
from brickwork.encoders.hub_seq2seq import DecoderStates
from brickwork.encoders.static import StaticEmbedding
from brickwork.representation.export_dual import export_dual

if TYPE_CHECKING:
    from brickwork.encoders.text import TextEncoder
    from brickwork.representation.model import Representation

_MODULES = "sentence_transformers.models."
_POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last",
}


def export_sentence_transformers(
    representation: "Representation", folder: Path | str, dim: int | None = None, layers: int | None = None
) -> Path:
    """Writes the model, cut to ``dim`` and ``layers`` if given, as a SentenceTransformer folder; a CLIP or SigLIP with both
    towers.

    Raises:
        ConfigError: a size that the model does not have, or ``folder`` is not empty.
        ArtifactError: the encoder has no equal in that library (images; norms before or at the exits; the map of an exit
            between depth 0 and the full one; several encoders side by side).
        ResourceError: disk full, read-only folder.
    """
    folder = Path(folder)
    encoder = representation.encoder
    if encoder.kind == "image-text":
        return export_dual(representation, folder, dim, layers)
    dim, layers = representation.size(dim, layers)
    if encoder.kind != "text":
        raise ArtifactError(f"an encoder of kind '{encoder.kind}' has no equal in sentence-transformers")
    if hasattr(encoder, "members"):
        raise ArtifactError(
            "several encoders side by side have no equal in sentence-transformers; write ONNX (--to onnx), or serve it"
        )
    if isinstance(encoder.body, DecoderStates):
        raise ArtifactError(
            "the states of a decoder of an encoder-decoder have no equal in sentence-transformers"
        )
    refuse_filled(folder)
    with atomic_folder(folder) as temporary:
        if isinstance(encoder.body, StaticEmbedding):
            chain = _write_static(encoder, temporary, dim)
        else:
            maps = after_pooling(encoder, dim, layers)
            chain = write_transformer(encoder, temporary, layers)
            chain += [write_dense(temporary, number, part) for number, part in enumerate(maps, 2)]
        chain.append(("Normalize", _folder(temporary, f"{len(chain)}_Normalize")))
        write_chain(temporary, chain)
        settings = {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"}
        settings |= representation.prompts.to_dict()
        write_json(temporary / "config_sentence_transformers.json", settings)
    return folder


def write_chain(folder: Path, chain: Sequence[tuple[str, str]]) -> None:
    """The list of the modules that a text goes through."""
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": _MODULES + name}
        for i, (name, path) in enumerate(chain)
    ]
    write_json(folder / "modules.json", modules)


def _folder(parent: Path, name: str) -> str:
    (parent / name).mkdir()
    return name


def _write_static(encoder: "TextEncoder", folder: Path, dim: int) -> list[tuple[str, str]]:
    name = _folder(folder, "0_StaticEmbedding")
    weight = encoder.body.state_dict()["token_embedding.weight"]
    if encoder.projection is not None:  # the mean of projected vectors is the projection of the mean
        weight = weight @ encoder.projection.weight.detach().T
    weight = weight[:, :dim]
    save_tensors(folder / name / "model.safetensors", {"embedding.weight": weight}, {"format": "pt"})
    write_text(folder / name / "tokenizer.json", encoder.tokenizer.to_str())
    return [("StaticEmbedding", name)]


def write_transformer(encoder: "TextEncoder", folder: Path, layers: int) -> list[tuple[str, str]]:
    """The first ``layers`` of the encoder as transformers loads them, its tokenizer and pooling: (module, path) of each.

    Raises:
        ArtifactError: the encoder has no equal in that library.
    """
    body: Any = encoder.body
    config, weights = (
        body.first_layers(layers) if isinstance(body, HubTransformer) else _bert(encoder, layers)
    )
    write_json(folder / "config.json", config)
    save_tensors(folder / "model.safetensors", weights, {"format": "pt"})
    write_text(folder / "tokenizer.json", encoder.tokenizer.to_str())
    marks = encoder.marks or {
        role: token for role, token in BERT_MARKS.items() if encoder.tokenizer.token_to_id(token) is not None
    }
    tokenizer_settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": encoder.max_tokens,
        "pad_token": encoder.tokenizer.id_to_token(encoder.pad_id),
        **marks,
    }
    write_json(folder / "tokenizer_config.json", tokenizer_settings)
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": encoder.max_tokens, "do_lower_case": False}
    )
    pooling = _folder(folder, "1_Pooling")
    mode_here = "mean" if layers < encoder.num_layers and encoder.exits is not None else encoder.pooling
    write_json(
        folder / pooling / "config.json",
        {
            "word_embedding_dimension": encoder.body.width,
            **{name: mode_here == mode for name, mode in _POOLING_FLAGS.items()},
        },
    )
    return [("Transformer", ""), ("Pooling", pooling)]


def _bert(encoder: "TextEncoder", layers: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        return bert_config(encoder, layers), to_bert_state_dict(encoder, layers)
    except ConfigError as error:
        raise ArtifactError(
            f"this encoder has no equal in sentence-transformers: {error}. Export to ONNX instead, or "
            "train with norm='post' and exit_norm='none'"
        ) from error


def after_pooling(encoder: "TextEncoder", dim: int, layers: int) -> list[Dense]:
    """The maps that follow the pooling, the last one cut to ``dim`` rows; one that cuts, where there are none.

    Raises:
        ArtifactError: the map of an exit between depth 0 and the full one.
    """
    shapes = [(part.linear.weight, part.linear.bias, part.shape.activation) for part in encoder.dense]
    if encoder.projection is not None:
        shapes.append((encoder.projection.weight, None, "Identity"))
    if encoder.exits is not None:
        if 0 < layers < encoder.num_layers:
            raise ArtifactError(
                f"the map behind layer {layers} takes the states of two depths, and a module of sentence-transformers sees "
                f"those of one: export depth 0 or {encoder.num_layers} (--layers), or export to ONNX, which holds any depth"
            )
        linear: Any = encoder.exits.maps[str(layers)]
        exit_map = (linear.weight, linear.bias, "Identity")
        shapes = [*shapes, exit_map] if layers else [exit_map]
    if dim < encoder.embedding_dim and not shapes:
        shapes.append((torch.eye(dim, encoder.embedding_dim), None, "Identity"))
    parts = []
    for number, (weight, bias, activation) in enumerate(shapes, start=1):
        rows = dim if number == len(shapes) else len(weight)
        with torch.device("meta"):
            part = Dense(DenseShape(weight.shape[1], rows, bias is not None, activation))
        state = {"weight": weight.detach()[:rows], **({} if bias is None else {"bias": bias.detach()[:rows]})}
        part.linear.load_state_dict(state, assign=True)
        parts.append(part)
    return parts


def write_dense(folder: Path, number: int, part: Dense) -> tuple[str, str]:
    """The module of that ``number``: (its kind, its path)."""
    name = _folder(folder, f"{number}_Dense")
    activation = type(part.activation)
    settings = {
        "in_features": part.shape.in_features,
        "out_features": part.shape.out_features,
        "bias": part.shape.bias,
        "activation_function": f"{activation.__module__}.{activation.__name__}",
    }
    write_json(folder / name / "config.json", settings)
    save_tensors(folder / name / "model.safetensors", part.state_dict(), {"format": "pt"})
    return "Dense", name
