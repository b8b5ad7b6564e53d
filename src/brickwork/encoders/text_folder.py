"""Text encoders in folders as others publish them: of transformers, or a chain of sentence-transformers.

Only JSON, vocabularies and safetensors are read, and code from a folder is never run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import load_tensors, read_json
from brickwork.encoders.bert import (
    from_bert_state_dict,
    is_bert_shaped,
    position_offset,
    transformer_arguments,
)
from brickwork.encoders.blocks.transformer import Transformer
from brickwork.encoders.config import TextEncoderConfig
from brickwork.encoders.dense import DenseShape
from brickwork.encoders.folder_tokenizer import folder_tokenizer, read_object
from brickwork.encoders.hub import load_hub_model
from brickwork.encoders.hub_weights import WEIGHTS, check_weights
from brickwork.encoders.pooling import THEIR_NAMES
from brickwork.encoders.prompts import Prompts
from brickwork.encoders.text import TextEncoder

SETTINGS = "config_sentence_transformers.json"
# Of a model whose folder sets no limit.
_MAX_TOKENS = 512
# Options of sentence_bert_config.json that do not change what a model computes.
_HARMLESS = {
    "add_pooling_layer",
    "attn_implementation",
    "dtype",
    "torch_dtype",
    "trust_remote_code",
    "device_map",
    "low_cpu_mem_usage",
    "use_safetensors",
}


@dataclass(frozen=True)
class TextFolder:
    """What a folder says of its model: where its parts are, and how texts are read and pooled.

    ``folder`` as it was given; ``model`` the one with the weights and ``description`` its ``config.json``; ``dense`` the
    maps after the pooling with the folder of each; ``max_tokens`` the limit of texts, where one is set.
    """

    folder: Path
    model: Path
    description: dict[str, Any]
    pooling: str
    dense: tuple[tuple[DenseShape, Path], ...]
    max_tokens: int | None
    lower_case: bool


def module_chain(folder: Path) -> list[tuple[str, Path]]:
    """Kind and folder of the modules of a SentenceTransformer, in order; empty where ``folder`` is none.

    Raises:
        ArtifactError: a damaged list, a module outside of the folder, or one that is code of the folder.
    """
    listed = folder / "modules.json"
    parts = read_json(listed) if listed.is_file() else []
    try:
        chain = [(str(part["type"]), Path(str(part["path"]))) for part in parts]
    except (TypeError, KeyError) as error:
        raise ArtifactError(f"{listed} is malformed ({error!r}); use a good copy") from error
    for kind, path in chain:
        if ".." in path.parts or path.is_absolute():
            raise ArtifactError(f"{listed} points outside its folder; it is not safe to load")
        if not kind.startswith("sentence_transformers."):
            raise ArtifactError(
                f"{listed} has the module {kind}, which is code of the model's own; such code is never run"
            )
    return [(kind.rpartition(".")[2], folder / path) for kind, path in chain]


def read_text_folder(folder: Path) -> TextFolder:
    """What ``folder`` says of its model.

    Raises:
        ArtifactError: files are missing or damaged, or the chain has parts that cannot be loaded.
    """
    chain = module_chain(folder)
    kinds = [kind for kind, _ in chain]
    after = kinds[2:-1] if kinds[-1:] == ["Normalize"] else kinds[2:]
    if chain and (kinds[:2] != ["Transformer", "Pooling"] or set(after) - {"Dense"}):
        raise ArtifactError(
            f"{folder} is a chain of {' → '.join(kinds)}; what can be loaded is Transformer → Pooling, then any number of "
            "Dense, then Normalize (or StaticEmbedding → Normalize)"
        )
    model = chain[0][1] if chain else folder
    if not (model / "config.json").is_file():
        model = folder
    description = read_json(model / "config.json")
    if not isinstance(description, dict):
        raise ArtifactError(f"{model / 'config.json'} is not a model's configuration; use a good copy")
    if (model / "adapter_config.json").is_file():
        raise ArtifactError(
            f"{model} holds an adapter (PEFT) beside its model; merge the two, then load the result"
        )
    settings = transformer_settings(model)
    return TextFolder(
        folder,
        model,
        description,
        pooling=_pooling(chain[1][1]) if chain else _usual_pooling(description),
        dense=tuple(
            (DenseShape.from_dict(read_object(path / "config.json"), str(path / "config.json")), path)
            for kind, path in chain
            if kind == "Dense"
        ),
        max_tokens=settings.get("max_seq_length") or _tokenizer_limit(model),
        lower_case=bool(settings.get("do_lower_case")),
    )


def load_text_folder(folder: Path, config: TextEncoderConfig | None = None) -> TextEncoder:
    """The encoder in a Hugging Face or SentenceTransformer folder, with its weights.

    ``config`` gives layers, length, pooling and dropout; without it they are the folder's own.

    Raises:
        ArtifactError: files are missing, damaged or unsafe, or the folder holds unknown parts.
        ConfigError: ``config`` asks for more layers or tokens than there are.
    """
    read = read_text_folder(folder)
    prompts = folder_prompts(folder)
    wanted = config is None or config.prompts
    if not wanted and not prompts:
        raise ConfigError(
            f"prompts has no effect with {folder}, which was published without any; leave it out"
        )
    body, positions = _load_body(read, config or TextEncoderConfig(backbone=str(folder)))
    max_tokens = _limit(read, positions, None if config is None else config.max_tokens)
    tokenizer, marks = folder_tokenizer(
        read.model, as_it_is=is_bert_shaped(read.description), lower_case=read.lower_case
    )
    encoder = TextEncoder(
        body,
        tokenizer,
        pooling=(config.pooling if config else None) or read.pooling,
        max_tokens=max_tokens,
        projection=config.projection if config else None,
        dense=[shape for shape, _ in read.dense],
        marks=marks,
        prompts=prompts if wanted else None,
    )
    _fill_dense(encoder, read)
    return encoder


def load_published_encoder(folder: Path, max_tokens: int) -> TextEncoder:
    """A folder's model with the modules that transformers builds for it, under their own names.

    Its own pooling; of a plain folder of a language model the last token, also where sentence-transformers would take the
    mean (GPT-2): it has read all others.

    Slower than :func:`load_text_folder` for BERT-shaped models, which become our own transformer there; for what other
    tools have to find again in the published model (adapters).

    Raises:
        ArtifactError: files are missing, damaged or unsafe, or there are maps after the pooling.
        ConfigError: it has fewer positions than ``max_tokens``.
    """
    read = read_text_folder(folder)
    if read.dense:
        raise ArtifactError(
            f"{folder} has Dense modules after its pooling, which cannot be kept with an adapter"
        )
    check_weights(read.model)
    body = load_hub_model(read.model, None)
    tokenizer, marks = folder_tokenizer(
        read.model, as_it_is=is_bert_shaped(read.description), lower_case=read.lower_case
    )
    limit = _limit(read, body.max_positions, max_tokens)
    saved = str((read.description.get("architectures") or [""])[0])
    continues = saved.endswith("LMHeadModel") and not (folder / "modules.json").is_file()
    pooling = "last" if continues else read.pooling
    prompts = folder_prompts(folder)
    return TextEncoder(body, tokenizer, pooling=pooling, max_tokens=limit, marks=marks, prompts=prompts)


def _load_body(read: TextFolder, config: TextEncoderConfig) -> tuple[Any, int | None]:
    """The body of the encoder, and how many tokens it reads at most."""
    check_weights(read.model)
    if is_bert_shaped(read.description):
        arguments = transformer_arguments(read.description)
        _at_most("num_layers", config.num_layers, arguments["num_layers"], read.folder)
        arguments |= {"num_layers": config.num_layers or arguments["num_layers"], "dropout": config.dropout}
        body = _load_bert(read.model, arguments, position_offset(read.description))
        return body, arguments["max_positions"]
    if config.dropout:
        raise ConfigError(
            f"dropout has no effect with {read.folder}: its own configuration sets it; leave it out"
        )
    wrapped = load_hub_model(read.model, config.num_layers)
    return wrapped, wrapped.max_positions


def _load_bert(folder: Path, arguments: dict[str, Any], first_position: int) -> Transformer:
    path = folder / WEIGHTS
    try:
        state = from_bert_state_dict(load_weights(folder), arguments["num_layers"], first_position)
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
    path, listed = folder / WEIGHTS, folder / f"{WEIGHTS}.index.json"
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


def _fill_dense(encoder: TextEncoder, read: TextFolder) -> None:
    width = encoder.body.width
    for part, (shape, path) in zip(encoder.dense, read.dense, strict=True):
        if shape.in_features != width:
            raise ArtifactError(
                f"{path} takes {shape.in_features} dimensions and is given {width}; use a good copy"
            )
        check_weights(path)
        try:
            part.load_state_dict(
                {name: tensor.float() for name, tensor in load_tensors(path / WEIGHTS).items()}
            )
        except RuntimeError as error:
            raise ArtifactError(f"{path / WEIGHTS} does not fit its config.json ({error})") from error
        width = shape.out_features


def _limit(read: TextFolder, positions: int | None, wanted: int | None) -> int:
    """How many tokens of a text are read: as asked for, else as the folder says, never more than the model can."""
    if wanted is not None:
        _at_most("max_tokens", wanted, positions, read.folder)
        return wanted
    return min(read.max_tokens or positions or _MAX_TOKENS, positions or read.max_tokens or _MAX_TOKENS)


def folder_positions(folder: Path) -> int | None:
    """How many tokens the model of a folder can read, by its configuration; ``None``: it sets no limit.

    Raises:
        ArtifactError: no model of texts that can be read.
    """
    description = read_text_folder(folder).description
    if is_bert_shaped(description):
        return int(transformer_arguments(description)["max_positions"])
    limit = description.get("max_position_embeddings")
    return limit if isinstance(limit, int) and limit > 0 else None


def _at_most(name: str, wanted: int | None, available: int | None, folder: Path) -> None:
    if wanted is not None and available is not None and wanted > available:
        raise ConfigError(
            f"{name}={wanted} is more than the {available} of {folder}; choose at most {available}"
        )


def transformer_settings(model: Path, expected: str = "feature-extraction") -> dict[str, Any]:
    """``sentence_bert_config.json``, by whichever of its old names.

    Raises:
        ArtifactError: the model is for another task than ``expected``, or is loaded with options that change it.
    """
    path = next(iter(sorted(model.glob("sentence_*_config.json"))), None)
    settings = read_object(path) if path else {}
    task = settings.get("transformer_task", expected)
    options = ("model_args", "model_kwargs", "config_args", "config_kwargs")
    given = {key for name in options for key in settings.get(name) or {}}
    if task != expected or given - _HARMLESS:
        what = f"the task '{task}'" if task != expected else ", ".join(sorted(given - _HARMLESS))
        raise ArtifactError(f"{path} asks for {what}, which cannot be loaded")
    length = settings.get("max_seq_length")
    if length is not None and (type(length) is not int or length < 1):
        raise ArtifactError(f"{path} has max_seq_length={length!r}, which is no length; use a good copy")
    return settings


def _tokenizer_limit(model: Path) -> int | None:
    path = model / "tokenizer_config.json"
    limit = read_object(path).get("model_max_length") if path.is_file() else None
    # Without a limit, transformers writes a number of thirty digits.
    return int(limit) if isinstance(limit, int | float) and 0 < limit < 1e9 else None


def folder_settings(folder: Path) -> dict[str, Any]:
    """``config_sentence_transformers.json``; empty where there is none.

    Raises:
        ArtifactError: it is damaged.
    """
    path = folder / SETTINGS
    return read_object(path) if path.is_file() else {}


def folder_prompts(folder: Path) -> Prompts:
    """What the model in a SentenceTransformer folder wants before its texts.

    Raises:
        ArtifactError: the prompts are damaged, or their tokens are left out when it pools.
    """
    prompts = Prompts.from_dict(folder_settings(folder), str(folder / SETTINGS))
    for name, path in module_chain(folder) if prompts else ():
        if name == "Pooling" and read_object(path / "config.json").get("include_prompt", True) is False:
            raise ArtifactError(
                f"{folder} leaves the tokens of its prompts out when it pools (include_prompt is false), which cannot be "
                "loaded"
            )
    return prompts


def _usual_pooling(description: dict[str, Any]) -> str:
    """Of a plain folder of transformers, as sentence-transformers takes it: the last token has seen all others."""
    saved = str((description.get("architectures") or [""])[0])
    return "last" if saved.endswith("ForCausalLM") and description.get("is_causal", True) else "mean"


def _pooling(folder: Path) -> str:
    settings = read_object(folder / "config.json")
    modes = settings.get("pooling_mode")
    if modes is None:
        prefix = "pooling_mode_"
        modes = [
            name.removeprefix(prefix)
            for name, on in settings.items()
            if name.startswith(prefix) and on is True
        ] or ["mean"]
    modes = [modes] if isinstance(modes, str) else modes
    ours = {theirs.removesuffix("_tokens"): name for name, theirs in THEIR_NAMES.items()}
    mode = str(modes[0]).removesuffix("_tokens").removesuffix("_token") if len(modes) == 1 else ""
    if mode not in ours:
        raise ArtifactError(
            f"{folder} pools by {' and '.join(map(str, modes))}; only one of {', '.join(THEIR_NAMES.values())} can be loaded"
        )
    return ours[mode]
