"""Encoders of transformers that are not BERT-shaped, behind the same contract as our own.

Early exit uses a view of the model whose list of layers is shorter; it shares every parameter.
"""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError
from brickwork.core.types import TokenBatch

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
        from transformers import AutoConfig, AutoModel

        values = {k: v for k, v in config.items() if k not in ("auto_map", "architectures", "model_type")}
        try:
            parsed = AutoConfig.for_model(config["model_type"], **values)
            model = AutoModel.from_config(parsed, trust_remote_code=False)
        except (KeyError, ValueError) as error:
            raise ArtifactError(
                f"model type '{config.get('model_type')}' is not known to the installed transformers "
                f"({error}); code from model folders is never run"
            ) from error
        self._adopt(model)

    def _adopt(self, model: nn.Module) -> None:
        config: Any = model.config
        _check_reads_texts(model)
        self.arguments = {"config": json.loads(config.to_json_string(use_diff=False))}
        self.model = model
        self.width: int = config.hidden_size
        self.num_layers: int = config.num_hidden_layers
        self._path = _find_layers(model, self.num_layers, config.model_type)
        # Some models put a norm after the last layer only. Their hidden states of one deep pass are then not
        # what a shallower model would return, and each exit needs a pass of its own.
        self._one_pass = self._hidden_states_are_exits()

    def forward(self, tokens: TokenBatch, exits: Sequence[int]) -> dict[int, Float[Tensor, "tokens width"]]:
        """Hidden states after each layer in ``exits`` (0: the embedding output)."""
        ids, mask = tokens.padded(pad_id=0)
        padded = self._exits(ids, mask, exits)
        return {layer: hidden[tokens.sequence, tokens.position] for layer, hidden in padded.items()}

    def forward_padded(self, input_ids: Tensor, attention_mask: Tensor, layer: int) -> Tensor:
        """Hidden states after ``layer`` of padded texts. Shapes: two of (B, L) → (B, L, D)."""
        return self._exits(input_ids, attention_mask, (layer,))[layer]

    def _exits(self, ids: Tensor, mask: Tensor, exits: Sequence[int]) -> dict[int, Tensor]:
        if self._one_pass:
            states = self._cut(max(1, *exits))(input_ids=ids, attention_mask=mask, output_hidden_states=True)
            return {layer: states.hidden_states[layer] for layer in exits}
        outputs = {}
        for layer in exits:
            output = self._cut(max(layer, 1))(
                input_ids=ids, attention_mask=mask, output_hidden_states=layer == 0
            )
            outputs[layer] = output.last_hidden_state if layer else output.hidden_states[0]
        return outputs

    def _cut(self, num_layers: int) -> nn.Module:
        """The model with its first layers only, sharing all parameters."""
        return (
            self.model if num_layers == self.num_layers else _with_layers(self.model, self._path, num_layers)
        )

    @torch.no_grad()
    def _hidden_states_are_exits(self) -> bool:
        """Whether hidden state 1 of a full pass is what the model with one layer returns."""
        if self.num_layers == 1:
            return True
        training = self.model.training
        self.model.eval()
        parameter = next(self.model.parameters())
        ids = torch.arange(4, device=parameter.device)[None]
        full = self.model(input_ids=ids, output_hidden_states=True).hidden_states
        shallow = self._cut(1)(input_ids=ids).last_hidden_state
        self.model.train(training)
        return torch.allclose(full[1], shallow, rtol=1e-3, atol=1e-5)

    def flops(self, lengths: Sequence[int], layers: int) -> int:
        """Twice the weights of the layers' matrices per token, and 4n²D per layer and text for attention."""
        stack: Any = self.model.get_submodule(self._path)
        weights = sum(p.numel() for layer in stack[:layers] for p in layer.parameters() if p.ndim == 2)
        return sum(2 * n * weights + layers * 4 * n * n * self.width for n in lengths)


def _check_reads_texts(model: Any) -> None:
    """Refuses what is not one stack of layers over texts: encoder-decoders, models of images, sound or several kinds."""
    config, kind = model.config, f"'{model.config.model_type}'"
    choose = "choose an encoder of texts as backbone"
    if getattr(config, "is_encoder_decoder", False):
        raise ArtifactError(f"{kind} is an encoder-decoder; {choose}")
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


def load_hub_model(folder: Path, num_layers: int | None) -> HubTransformer:
    """The encoder in a Hugging Face folder, with its weights, cut to ``num_layers``.

    Raises:
        ArtifactError: no safetensors, remote code needed, or weights that do not fit (with their names).
    """
    from transformers import AutoModel

    try:
        model, info = AutoModel.from_pretrained(
            str(folder),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"{folder} was refused: {error}") from error
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    unexpected = [key for key in info["unexpected_keys"] if not key.startswith(_TASK_PARTS)]
    if missing or unexpected or info.get("mismatched_keys"):
        raise ArtifactError(
            f"{folder} was refused: its weights do not fit its config.json; missing {sorted(missing)}, "
            f"unexpected {sorted(unexpected)}, wrong shape {sorted(info.get('mismatched_keys') or [])}"
        )
    if num_layers is not None and num_layers < model.config.num_hidden_layers:
        path = _find_layers(model, model.config.num_hidden_layers, model.config.model_type)
        parent, _, name = path.rpartition(".")
        stack: Any = model.get_submodule(path)
        setattr(model.get_submodule(parent), name, nn.ModuleList(stack[:num_layers]))
        model.config.num_hidden_layers = num_layers
    wrapper = HubTransformer.__new__(HubTransformer)
    nn.Module.__init__(wrapper)
    wrapper._adopt(model)
    return wrapper
