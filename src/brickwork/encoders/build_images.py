"""Pretrained encoders of images, and of images and texts, from a folder as transformers writes it.

Only safetensors are read and code from model folders is never run.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers
from torch import nn

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import read_json
from brickwork.core.framing import Framing
from brickwork.encoders.build import find_backbone
from brickwork.encoders.config import PretrainedImageConfig
from brickwork.encoders.hub_images import TOWERS, HubImageEncoder
from brickwork.encoders.hub_tower import TextTower
from brickwork.encoders.hub_weights import read_pretrained
from brickwork.encoders.image_text import ImageTextEncoder
from brickwork.encoders.preprocessing import read_preprocessing
from brickwork.encoders.text import TextEncoder
from brickwork.encoders.tokenization import load_tokenizer

DUAL = ("clip", "siglip")
"""Types of models with a tower of images and one of texts."""
# Parts of a checkpoint that belong to a task, or that no vector depends on.
_UNUSED = ("classifier", "head.", "pooler.", "decoder.", "lm_head")
_SILENT = ("mask_token", "position_ids")
_SIGLIP_TOKENS = 64
_LOWERING = ("SiglipTokenizer", "Siglip2Tokenizer")


def backbone_kind(folder: Path) -> str:
    """What a model folder of transformers or sentence-transformers encodes: ``text``, ``image`` or ``image-text``."""
    model_type = _description(image_folder(folder)).get("model_type")
    if model_type in DUAL:
        return "image-text"
    return "image" if model_type in TOWERS else "text"


def image_folder(folder: Path) -> Path:
    """Where the model itself is: the folder, or the part of a SentenceTransformer folder that holds a CLIP or SigLIP, alone
    or with Normalize behind it."""
    parts = read_json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    parts = [p for p in parts if not str(p.get("type")).endswith("Normalize")] if _are_parts(parts) else []
    if len(parts) == 1:
        name, path = str(parts[0].get("type")).rpartition(".")[2], str(parts[0].get("path", ""))
        inside = not (Path(path).is_absolute() or ".." in Path(path).parts)
        if inside and name in ("CLIPModel", "Transformer") and (folder / path / "config.json").is_file():
            return folder / path
    return folder


def _are_parts(parts: Any) -> bool:
    return isinstance(parts, list) and all(isinstance(part, dict) for part in parts)


def build_image_encoder(config: PretrainedImageConfig) -> HubImageEncoder:
    """The pretrained encoder that ``config`` describes; of a dual encoder (CLIP, SigLIP) its tower of images.

    Raises:
        ArtifactError: the model is missing, damaged, unsafe or of an unknown kind.
        ConfigError: more layers than it has, or fewer for a model in stages.
    """
    folder = find_backbone(config.backbone, config.revision)
    if folder is None:
        raise ConfigError(
            f"backbone '{config.backbone}' is no model of images; give a folder or the id of one on the hub"
        )
    encoder = load_image_folder(folder, config.num_layers)
    if config.embedding_dim is not None:
        encoder.project_to(config.embedding_dim)
    return encoder


def build_image_text_encoder(backbone: str, revision: str | None) -> ImageTextEncoder:
    """The pretrained dual encoder (CLIP, SigLIP) in a folder or on the hub.

    Raises:
        ArtifactError: it is missing, damaged, unsafe or of an unknown kind.
    """
    folder = find_backbone(backbone, revision)
    if folder is None:
        raise ConfigError(
            f"backbone '{backbone}' is no model of images and texts; give a folder or the id of one on the hub"
        )
    return load_image_text_folder(folder)


def backbone_framing(backbone: str, revision: str | None) -> Framing | None:
    """How a pretrained model wants its images scaled and cut; ``None`` for one of texts.

    Raises:
        ArtifactError: it is missing, or does not say how.
    """
    folder = find_backbone(backbone, revision)
    if folder is None or backbone_kind(folder) == "text":
        return None
    folder = image_folder(folder)
    description = _description(folder)
    vision = description.get("vision_config")
    channels = (vision if isinstance(vision, dict) else description).get("num_channels", 3)
    return read_preprocessing(folder, channels).framing


def load_image_folder(folder: Path, num_layers: int | None = None) -> HubImageEncoder:
    """The encoder of images in a folder, with its weights, cut to its first ``num_layers``.

    Raises:
        ArtifactError: files are missing, damaged or unsafe, or it is no model of images that is known.
        ConfigError: more layers than it has, or fewer for a model in stages.
    """
    folder = image_folder(folder)
    description = _description(folder)
    model_type = description.get("model_type")
    if model_type in DUAL:
        model = _loaded(folder, model_type, {})
        tower, projection = model.vision_model, getattr(model, "visual_projection", None)
    elif model_type in TOWERS:
        projected = model_type == "clip_vision_model" and "WithProjection" in str(
            description.get("architectures")
        )
        model = _loaded(
            folder, "projected" if projected else model_type, dict.fromkeys(TOWERS[model_type].options, False)
        )
        tower = model.vision_model if projected else model
        projection = model.visual_projection if projected else None
    else:
        raise ArtifactError(
            f"{folder} holds a model of type '{model_type}', which is no image encoder that can be loaded; known: "
            f"{', '.join((*TOWERS, *DUAL))}"
        )
    if num_layers is not None:
        _cut(tower, num_layers, folder)
    return _adopted(folder, tower, projection)


def load_image_text_folder(folder: Path) -> ImageTextEncoder:
    """CLIP or SigLIP from a folder: both towers, scale and bias of the logits, and the tokenizer.

    Raises:
        ArtifactError: files are missing, damaged or unsafe, or it is no dual encoder that is known.
    """
    folder = image_folder(folder)
    model_type = _description(folder).get("model_type")
    if model_type not in DUAL:
        raise ArtifactError(
            f"{folder} holds a model of type '{model_type}', which is no dual encoder that can be loaded; known: "
            f"{', '.join(DUAL)}"
        )
    model = _loaded(folder, model_type, {})
    image = _adopted(folder, model.vision_model, getattr(model, "visual_projection", None))
    text = _text_side(folder, model)
    bias = getattr(model, "logit_bias", None)
    return ImageTextEncoder.of(
        image,
        text,
        scale=float(model.logit_scale.detach().exp().item()),
        bias=None if bias is None else float(bias.detach().item()),
    )


def _text_side(folder: Path, model: Any) -> TextEncoder:
    config = model.text_model.config
    settings = _optional(folder / "tokenizer_config.json")
    tokenizer = _tokenizer(folder, settings)
    filled: int | None = None
    longest = int(config.max_position_embeddings)
    if model.config.model_type == "siglip":
        longest = min(longest, int(settings.get("model_max_length") or _SIGLIP_TOKENS))
        filled = longest
    left = settings.get("padding_side") == "left"
    body = TextTower.of(model.text_model, _pad_id(tokenizer, settings, config), filled, left)
    projection = getattr(model, "text_projection", None)
    encoder = TextEncoder(
        body,
        tokenizer,
        pooling="last",
        max_tokens=longest,
        projection=None if projection is None else projection.out_features,
    )
    encoder.projection = projection
    return encoder


def _pad_id(tokenizer: Tokenizer, settings: dict[str, Any], config: Any) -> int:
    """What texts are filled up with: the tokenizer's padding token, else the configuration's."""
    token = settings.get("pad_token")
    named = token.get("content") if isinstance(token, dict) else token
    number = tokenizer.token_to_id(named) if isinstance(named, str) else None
    return int(config.pad_token_id or 0) if number is None else number


def _tokenizer(folder: Path, settings: dict[str, Any]) -> Tokenizer:
    if not (folder / "tokenizer.json").is_file() and (folder / "vocab.json").is_file():
        # An old repository with a vocabulary only: transformers builds the fast tokenizer from it.
        from transformers import AutoTokenizer

        try:
            built = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
            return Tokenizer.from_str(built.backend_tokenizer.to_str())
        except (OSError, ValueError, AttributeError, ImportError) as error:
            raise ArtifactError(f"{folder} has no tokenizer.json and none could be made ({error})") from error
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    if settings.get("tokenizer_class") in _LOWERING and "Lowercase" not in str(tokenizer.normalizer):
        first = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *first])
    return tokenizer


def _adopted(folder: Path, tower: nn.Module, projection: nn.Linear | None) -> HubImageEncoder:
    config: Any = tower.config
    preprocessing = read_preprocessing(folder, int(getattr(config, "num_channels", 3)))
    try:
        return HubImageEncoder.of(tower, preprocessing, projection)
    except ArtifactError as error:
        raise ArtifactError(f"{folder}: {error}") from error


def _loaded(folder: Path, kind: str, options: dict[str, Any]) -> Any:
    """The model that transformers reads from a folder, in float32.

    Raises:
        ArtifactError: no safetensors, or weights that do not fit (with their names).
    """
    import transformers

    classes = {
        "clip": transformers.CLIPModel,
        "siglip": transformers.SiglipModel,
        "projected": transformers.CLIPVisionModelWithProjection,
    }
    return read_pretrained(
        classes.get(kind, transformers.AutoModel),
        folder,
        may_lack=lambda name: name.endswith(_SILENT),
        may_have=lambda name: name.startswith(_UNUSED) or name.endswith(_SILENT),
        **options,
    )


def _cut(tower: Any, num_layers: int, folder: Path) -> None:
    """Leaves the first layers of a model of transformers."""
    shape = TOWERS[tower.config.model_type]
    stack: Any = tower.get_submodule(shape.layers)
    if shape.staged and num_layers != 1:
        raise ConfigError(
            f"num_layers={num_layers} has no effect with {folder}: its stages have different widths, so it is one layer; "
            "leave it out"
        )
    if shape.staged:
        return
    if num_layers > len(stack):
        raise ConfigError(
            f"num_layers={num_layers} is more than the {len(stack)} of {folder}; choose at most that"
        )
    parent, _, name = shape.layers.rpartition(".")
    setattr(tower.get_submodule(parent), name, nn.ModuleList(stack[:num_layers]))
    tower.config.num_hidden_layers = num_layers


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    description = read_json(path) if path.is_file() else {}
    if not isinstance(description, dict):
        raise ArtifactError(f"{path} is not a model's configuration; use a good copy")
    return description


def _optional(path: Path) -> dict[str, Any]:
    values = read_json(path) if path.is_file() else {}
    return values if isinstance(values, dict) else {}
