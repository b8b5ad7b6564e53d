"""A CLIP or SigLIP as a folder that transformers and sentence-transformers open, with the same vectors."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from brickwork.core.errors import ArtifactError
from brickwork.core.files import atomic_folder, os_errors, refuse_filled, write_json, write_text
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.hub_tower import TextTower
from brickwork.encoders.partial import quiet_transformers

if TYPE_CHECKING:
    from brickwork.encoders.image_text import ImageTextEncoder
    from brickwork.representation.model import Representation

_MODULES = "sentence_transformers.models."


def export_dual(
    representation: "Representation", folder: Path, dim: int | None = None, layers: int | None = None
) -> Path:
    """Writes both towers, the tokenizer and the preprocessing. ``dim`` keeps the first dimensions (CLIP only).

    Raises:
        ConfigError: a size that the model does not have, or ``folder`` is not empty.
        ArtifactError: the encoders are not both those of a CLIP or of a SigLIP; a cut that this format does not have.
        ResourceError: disk full, read-only folder.
    """
    dim, layers = representation.size(dim, layers)
    encoder: "ImageTextEncoder" = representation.encoder
    kind = _kind(encoder)
    if layers < encoder.num_layers or (dim < encoder.embedding_dim and kind == "siglip"):
        raise ArtifactError(
            f"a {kind} cannot be cut to {dim} dimensions and {layers} layers in this format; export all of it, or export to "
            "ONNX"
        )
    refuse_filled(folder)
    with atomic_folder(folder) as temporary:
        with os_errors(folder), quiet_transformers():
            _whole(encoder, kind, dim).save_pretrained(temporary)
        _write_rest(encoder, kind, temporary)
    return folder


def _kind(encoder: "ImageTextEncoder") -> str:
    image: Any = encoder.image
    body: Any = encoder.body
    types: list[str] = []
    if isinstance(image, HubImageEncoder) and isinstance(body, TextTower):
        types = [str(config["model_type"]) for config in (image.arguments["config"], body.config)]
        projections = [getattr(part, "projection", None) is not None for part in (image, encoder)]
        if types == ["clip_vision_model", "clip_text_model"] and all(projections):
            return "clip"
        if types == ["siglip_vision_model", "siglip_text_model"] and not any(projections):
            return "siglip"
    raise ArtifactError(
        "only a CLIP or a SigLIP has an equal in sentence-transformers; these encoders of kind 'image-text' are of other "
        f"types{f' ({types[0]}, {types[1]})' if types else ''}. Export to ONNX instead"
    )


def _whole(encoder: "ImageTextEncoder", kind: str, dim: int) -> Any:
    """The model of transformers that has our towers as its own."""
    import transformers

    image: Any = encoder.image
    body: Any = encoder.body
    towers = {"vision_model": image.model, "text_model": body.model}
    configs = {"vision_config": image.arguments["config"], "text_config": body.config}
    if kind == "clip":
        config: Any = transformers.CLIPConfig(**configs, projection_dim=dim)
    else:
        config = transformers.SiglipConfig(**configs)
    with torch.device("meta"):
        model: Any = (transformers.CLIPModel if kind == "clip" else transformers.SiglipModel)(config)
    for name, tower in towers.items():
        setattr(model, name, tower)
    if kind == "clip":
        sides: dict[str, Any] = {"visual_projection": image, "text_projection": encoder}
        for name, side in sides.items():
            weight = side.projection.weight.detach()[:dim].clone()
            cut = nn.Linear(weight.shape[1], dim, bias=False)
            cut.weight = nn.Parameter(weight)
            setattr(model, name, cut)
    scale = torch.tensor(math.log(1 / 0.07 if encoder.scale is None else encoder.scale))
    model.logit_scale = nn.Parameter(scale if kind == "clip" else scale[None])
    if kind == "siglip":
        model.logit_bias = nn.Parameter(torch.tensor([encoder.bias or 0.0]))
    return model


def _write_rest(encoder: "ImageTextEncoder", kind: str, folder: Path) -> None:
    image: Any = encoder.image
    processor = "CLIPImageProcessor" if kind == "clip" else "SiglipImageProcessor"
    write_json(folder / "preprocessor_config.json", image.preprocessing.for_transformers(processor))
    write_text(folder / "tokenizer.json", encoder.tokenizer.to_str())
    body: Any = encoder.body
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": encoder.max_tokens,
        "pad_token": encoder.tokenizer.id_to_token(body.pad_id),
        "padding_side": "left" if body.left else "right",
        # SigLIP has no mask: what fills a text up is read.
        **({"model_input_names": ["input_ids"]} if kind == "siglip" else {}),
    }
    write_json(folder / "tokenizer_config.json", settings)
    transformer: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            side: {"method": f"get_{side}_features", "method_output_name": "pooler_output"}
            for side in ("text", "image")
        },
        "module_output_name": "sentence_embedding",
    }
    if kind == "siglip":
        transformer["processing_kwargs"] = {"text": {"padding": "max_length"}}
    write_json(folder / "sentence_bert_config.json", transformer)
    (folder / "1_Normalize").mkdir()
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": _MODULES + name}
        for i, (name, path) in enumerate((("Transformer", ""), ("Normalize", "1_Normalize")))
    ]
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "config_sentence_transformers.json",
        {"model_type": "SentenceTransformer", "similarity_fn_name": "cosine"},
    )
