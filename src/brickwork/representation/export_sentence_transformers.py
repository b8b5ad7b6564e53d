"""A folder that ``sentence_transformers.SentenceTransformer(folder)`` opens, with the same vectors.

Written file by file from that library's format, so it need not be installed. A cut in ``dim`` becomes a Dense
module that keeps the first dimensions, before Normalize: the library's own ``truncate_dim`` would cut after it
and leave vectors that are not of length 1.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import atomic_folder, save_tensors, write_json, write_text
from brickwork.encoders.bert import bert_config, to_bert_state_dict
from brickwork.encoders.hub import HubTransformer
from brickwork.encoders.static import StaticEmbedding
from brickwork.representation.export_dual import export_dual

if TYPE_CHECKING:
    from brickwork.encoders.text import TextEncoder
    from brickwork.representation.model import Representation

_MODULES = "sentence_transformers.models."
_SPECIAL = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}


def export_sentence_transformers(
    representation: "Representation", folder: Path | str, dim: int | None = None, layers: int | None = None
) -> Path:
    """Writes the model, cut to ``dim`` and ``layers`` if given, as a SentenceTransformer folder; a CLIP or SigLIP with both
    towers.

    Raises:
        ConfigError: a size that the model does not have, or ``folder`` is not empty.
        ArtifactError: the encoder has no equal in that library (images; norms before or at the exits).
        ResourceError: disk full, read-only folder.
    """
    folder = Path(folder)
    encoder = representation.encoder
    if encoder.kind == "image-text":
        return export_dual(representation, folder, dim, layers)
    dim, layers = representation.size(dim, layers)
    if encoder.kind != "text":
        raise ArtifactError(f"an encoder of kind '{encoder.kind}' has no equal in sentence-transformers")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty; choose another folder")
    with atomic_folder(folder) as temporary:
        if isinstance(encoder.body, StaticEmbedding):
            chain = _write_static(encoder, temporary, dim)
        else:
            chain = _write_transformer(encoder, temporary, layers)
            if encoder.projection is not None:
                chain.append(_write_dense(temporary, encoder.projection.weight.detach()[:dim]))
            elif dim < encoder.embedding_dim:
                chain.append(_write_dense(temporary, torch.eye(dim, encoder.embedding_dim)))
        chain.append(("Normalize", _folder(temporary, f"{len(chain)}_Normalize")))
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": _MODULES + name}
            for i, (name, path) in enumerate(chain)
        ]
        write_json(temporary / "modules.json", modules)
        settings = {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"}
        settings |= representation.prompts.to_dict()
        write_json(temporary / "config_sentence_transformers.json", settings)
    return folder


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


def _write_transformer(encoder: "TextEncoder", folder: Path, layers: int) -> list[tuple[str, str]]:
    config, weights = (
        _hub_model(encoder, layers) if isinstance(encoder.body, HubTransformer) else _bert(encoder, layers)
    )
    write_json(folder / "config.json", config)
    save_tensors(folder / "model.safetensors", weights, {"format": "pt"})
    write_text(folder / "tokenizer.json", encoder.tokenizer.to_str())
    tokens = {
        role: token for role, token in _SPECIAL.items() if encoder.tokenizer.token_to_id(token) is not None
    }
    tokenizer_settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": encoder.max_tokens,
        "pad_token": encoder.tokenizer.id_to_token(encoder.pad_id),
        **tokens,
    }
    write_json(folder / "tokenizer_config.json", tokenizer_settings)
    write_json(
        folder / "sentence_bert_config.json", {"max_seq_length": encoder.max_tokens, "do_lower_case": False}
    )
    pooling = _folder(folder, "1_Pooling")
    modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    write_json(
        folder / pooling / "config.json",
        {
            "word_embedding_dimension": encoder.body.width,
            **{name: encoder.pooling == mode for name, mode in modes.items()},
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
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


def _hub_model(encoder: "TextEncoder", layers: int) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    body: Any = encoder.body
    if layers < encoder.num_layers:
        raise ArtifactError(
            f"a model of type '{body.arguments['config'].get('model_type')}' cannot be cut to {layers} "
            "layers in this format; export all layers, or export to ONNX"
        )
    return {**body.arguments["config"], "architectures": [type(body.model).__name__]}, body.model.state_dict()


def _write_dense(folder: Path, weight: torch.Tensor) -> tuple[str, str]:
    """A Dense module with this matrix (dim, width): a projection, or the first dimensions of the vector."""
    name = _folder(folder, "2_Dense")
    dim, width = weight.shape
    settings = {
        "in_features": width,
        "out_features": dim,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    write_json(folder / name / "config.json", settings)
    save_tensors(
        folder / name / "model.safetensors", {"linear.weight": weight.contiguous()}, {"format": "pt"}
    )
    return "Dense", name
