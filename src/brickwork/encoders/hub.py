"""Encoders of transformers that are not BERT-shaped, behind the same contract as our own.

The exit after layer k is what the model's own code returns when it is built with k layers. Where that code puts a norm
after its last layer (ModernBERT, T5, Qwen3, Llama, Gemma …), the exit is that norm of transformers' hidden state k; where
it does not (BERT-like), it is hidden state k itself. Exit 0, the embedding output, is no exception.

Early exit uses a view of the model whose list of layers is shorter; it shares every parameter.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import read_json
from brickwork.core.types import TokenBatch
from brickwork.encoders.hub_weights import read_pretrained

# Parts of a checkpoint that belong to a task, not to the encoder.
_TASK_PARTS = (
    "cls.",
    "pooler.",
    "lm_head",
    "classifier",
    "qa_outputs",
    "head.",
    "predictions",
    "vocab_",
    "decoder.",
)


class HubTransformer(nn.Module):
    """Any ``transformers`` encoder whose layers stand in one list.

    ``config``: the model's configuration as plain values. Weights are fresh; see :func:`load_hub_model`.

    Raises:
        ArtifactError: the model needs remote code, is no encoder of texts, or its layers cannot be found.
    """

    kind = "hub"

    def __init__(self, *, config: dict[str, Any]):
        super().__init__()
        from transformers import AutoConfig

        values = {k: v for k, v in config.items() if k not in ("auto_map", "architectures", "model_type")}
        check_known(config)
        try:
            parsed = AutoConfig.for_model(config["model_type"], **values)
            model = _class_of(parsed).from_config(parsed, trust_remote_code=False)
        except (KeyError, ValueError) as error:
            raise ArtifactError(
                f"transformers makes no model of type '{config['model_type']}' from this configuration ({error})"
            ) from error
        self._adopt(model)

    @classmethod
    def of(cls, model: nn.Module) -> "HubTransformer":
        """The body around a model of transformers, with its weights. Raises as the class."""
        body = cls.__new__(cls)
        nn.Module.__init__(body)
        body._adopt(model)
        return body

    def _adopt(self, model: nn.Module) -> None:
        config: Any = model.config
        _check_reads_texts(model)
        # Which class the weights were saved from says nothing of the model, and is not known of one that is rebuilt.
        described = {**json.loads(config.to_json_string(use_diff=False)), "architectures": None}
        self.arguments = {"config": described}
        self.model = model
        self.width: int = config.hidden_size
        self.num_layers: int = config.num_hidden_layers
        self._path = _find_layers(model, self.num_layers, config.model_type)
        self._one_pass, self._norm = self._ending()

    @property
    def max_positions(self) -> int | None:
        """How many tokens a text may have; None: the model sets no limit."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        if not isinstance(limit, int) or limit < 1:
            return None
        for module in self.model.modules():
            # RoBERTa and its heirs count positions from the one after the padding's.
            offset = getattr(module, "padding_idx", None)
            if isinstance(offset, int) and isinstance(
                getattr(module, "position_embeddings", None), nn.Embedding
            ):
                return limit - offset - 1
        return limit

    def forward(self, tokens: TokenBatch, exits: Sequence[int]) -> dict[int, Float[Tensor, "tokens width"]]:
        """Hidden states after each layer in ``exits`` (0: the embedding output)."""
        ids, mask = tokens.padded(pad_id=0)
        padded = self._exits(ids, mask, exits)
        return {layer: hidden[tokens.sequence, tokens.position] for layer, hidden in padded.items()}

    def forward_padded(self, input_ids: Tensor, attention_mask: Tensor, layer: int) -> Tensor:
        """Hidden states after ``layer`` of padded texts. Shapes: two of (B, L) → (B, L, D)."""
        return self._exits(input_ids, attention_mask, (layer,))[layer]

    def _exits(self, ids: Tensor, mask: Tensor, exits: Sequence[int]) -> dict[int, Tensor]:
        if not self._one_pass and len(set(exits)) > 1:
            return {layer: self._exits(ids, mask, (layer,))[layer] for layer in exits}
        deepest = max(exits)
        output = self._cut(max(deepest, 1))(  # some models cannot run without a layer
            input_ids=ids,
            attention_mask=mask,
            output_hidden_states=min(exits) < deepest or deepest == 0,
            use_cache=False,
        )
        norm = self.model.get_submodule(self._norm) if self._norm else nn.Identity()
        return {
            layer: output.last_hidden_state if layer == deepest > 0 else norm(output.hidden_states[layer])
            for layer in exits
        }

    def _cut(self, num_layers: int) -> nn.Module:
        """The model with its first layers only, sharing all parameters."""
        return (
            self.model if num_layers == self.num_layers else _with_layers(self.model, self._path, num_layers)
        )

    @torch.no_grad()
    def _ending(self) -> tuple[bool, str]:
        """Whether the hidden states of one pass are the exits, and the path of the norm to be put on them, if any.

        Found by running the model with one layer and with all of them. Where neither hidden state 1 nor a norm of it is
        what the shallow model returns, each exit needs a pass of its own.
        """
        training = self.model.training
        self.model.eval()
        parameter = next(self.model.parameters())
        ids = torch.arange(4, device=parameter.device)[None]
        full = self.model(input_ids=ids, output_hidden_states=True).hidden_states
        results: dict[str, Tensor] = {}
        hooks = [
            module.register_forward_hook(lambda _, __, result, name=name: results.update({name: result}))
            for name, module in self._norms()
        ]
        shallow = self._cut(1)(input_ids=ids).last_hidden_state
        for hook in hooks:
            hook.remove()
        # Not by values alone: norms with fresh weights are all equal.
        last = [name for name, result in results.items() if result.data_ptr() == shallow.data_ptr()]
        self.model.train(training)
        if self.num_layers == 1:
            return True, last[-1] if last else ""
        answers = [("", full[1]), *((name, self.model.get_submodule(name)(full[1])) for name in last)]
        fitting = [name for name, answer in answers if torch.allclose(answer, shallow, rtol=1e-3, atol=1e-5)]
        return bool(fitting), fitting[-1] if fitting else ""

    def _norms(self) -> list[tuple[str, nn.Module]]:
        """Path and module of what has nothing but vectors of the model's width, outside of the layers."""
        return [
            (name, module)
            for name, module in self.model.named_modules()
            if not name.startswith(f"{self._path}.")
            and (own := list(module.parameters()))
            and all(parameter.shape == (self.width,) for parameter in own)
        ]

    def first_layers(self, num_layers: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """``config.json`` and weights of the model that has the first layers only, under transformers' names."""
        config: Any = copy.deepcopy(self.model.config)
        _shorten(config, num_layers)
        deeper = tuple(f"{self._path}.{layer}." for layer in range(num_layers, self.num_layers))
        state = {n: t for n, t in self.model.state_dict().items() if not deeper or not n.startswith(deeper)}
        values = json.loads(config.to_json_string(use_diff=False))
        return {**values, "architectures": [type(self.model).__name__]}, state

    def flops(self, lengths: Sequence[int], layers: int) -> int:
        """Twice the weights of the layers' matrices per token, and 4n²D per layer and text for attention."""
        stack: Any = self.model.get_submodule(self._path)
        weights = sum(p.numel() for layer in stack[:layers] for p in layer.parameters() if p.ndim == 2)
        return sum(2 * n * weights + layers * 4 * n * n * self.width for n in lengths)


def check_known(config: Mapping[str, Any]) -> None:
    """Raises ArtifactError where the installed transformers has no such type of model."""
    from transformers import CONFIG_MAPPING, __version__

    kind = config.get("model_type")
    if kind not in CONFIG_MAPPING:
        raise ArtifactError(
            f"model type '{kind}' is not known to the installed transformers ({__version__}), and code from model folders "
            "is never run; choose another model, or a newer transformers if it has this one"
        )


def _class_of(config: Any) -> Any:
    """The class that makes the encoder; of an encoder-decoder (T5) its encoder alone.

    Raises:
        ArtifactError: an encoder-decoder whose encoder transformers does not offer by itself.
    """
    from transformers import MODEL_FOR_TEXT_ENCODING_MAPPING, AutoModel, AutoModelForTextEncoding

    # An encoder that was saved by itself says that it is no encoder-decoder, and keeps its type.
    if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        return AutoModelForTextEncoding
    if getattr(config, "is_encoder_decoder", False):
        raise ArtifactError(
            f"'{config.model_type}' is an encoder-decoder, and transformers has no class for its encoder alone; choose an "
            "encoder of texts as backbone (of these models: t5, mt5, umt5)"
        )
    return AutoModel


def _check_reads_texts(model: Any) -> None:
    """Refuses what is not one stack of layers over texts: models of images, sound or several kinds."""
    config, kind = model.config, f"'{model.config.model_type}'"
    choose = "choose an encoder of texts as backbone"
    if model.main_input_name != "input_ids":
        raise ArtifactError(f"{kind} reads {model.main_input_name}, not texts; {choose}")
    missing = [
        name
        for name in ("hidden_size", "num_hidden_layers")
        if not isinstance(getattr(config, name, None), int)
    ]
    if missing:
        parts = ", ".join(name for name in vars(config) if name.endswith("_config"))
        several = f" but parts of its own ({parts})" if parts else ""
        raise ArtifactError(
            f"{kind} has no {' and no '.join(missing)}{several}, so it is not one encoder; {choose}"
        )


def _find_layers(model: nn.Module, num_layers: int, model_type: str) -> str:
    """The path of the one outermost module list with ``num_layers`` entries."""
    paths = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == num_layers
    ]
    outermost = [p for p in paths if not any(p.startswith(f"{other}.") for other in paths)]
    if len(outermost) != 1:
        raise ArtifactError(
            f"the layers of a '{model_type}' model were not found ({len(outermost)} lists of {num_layers}); "
            "choose another backbone"
        )
    return outermost[0]


def _with_layers(module: nn.Module, path: str, num_layers: int) -> nn.Module:
    """A shallow copy of ``module`` in which the list at ``path`` is shorter; nothing else is copied."""
    name, _, rest = path.partition(".")
    child: Any = module._modules[name]
    view = copy.copy(module)
    view._modules = dict(module._modules)
    view._modules[name] = _with_layers(child, rest, num_layers) if rest else nn.ModuleList(child[:num_layers])
    return view


def _shorten(config: Any, num_layers: int) -> None:
    """Makes ``config`` that of the first layers; what it lists for each layer gets shorter as well."""
    before = config.num_hidden_layers
    for name, value in vars(config).items():
        if "layer" in name and isinstance(value, list) and len(value) == before:
            setattr(config, name, value[:num_layers])
    config.num_hidden_layers = num_layers


def load_hub_model(folder: Path, num_layers: int | None) -> HubTransformer:
    """The encoder in a Hugging Face folder, with its weights, cut to ``num_layers``.

    Raises:
        ArtifactError: no safetensors, remote code needed, or weights that do not fit (with their names).
        ConfigError: more layers than there are.
    """
    from transformers import AutoConfig

    description = read_json(folder / "config.json")
    check_known(description)
    try:
        parsed = AutoConfig.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # what a wrong value raises in transformers may be anything
        raise ArtifactError(f"{folder} was refused: {error}") from error
    model = read_pretrained(
        _class_of(parsed),
        folder,
        may_lack=lambda name: name.startswith("pooler."),
        may_have=lambda name: name.startswith(_TASK_PARTS),
    )
    _check_reads_texts(model)
    available = model.config.num_hidden_layers
    if num_layers is not None and num_layers > available:
        raise ConfigError(
            f"num_layers={num_layers} is more than the {available} of {folder}; choose at most {available}"
        )
    if num_layers is not None and num_layers < available:
        path = _find_layers(model, available, model.config.model_type)
        parent, _, name = path.rpartition(".")
        stack: Any = model.get_submodule(path)
        setattr(model.get_submodule(parent), name, nn.ModuleList(stack[:num_layers]))
        _shorten(model.config, num_layers)
    return HubTransformer.of(model)
