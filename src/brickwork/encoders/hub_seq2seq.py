"""What the decoder of a pretrained encoder-decoder (T5, BART) thinks of a text, as the body of a text encoder.

The text is read by the encoder and fed to the decoder as well, one token late, as in training; a token's hidden state is
that of the place where the decoder has to give it. The exit after layer k is what the model's own decoder returns when it
is built with k layers; exit 0 is its embedding output.
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError
from brickwork.core.types import TokenBatch
from brickwork.encoders.hub_weights import refused
from brickwork.encoders.partial import quiet_transformers, replaced

_LAYERS = ("decoder.block", "decoder.layers")  # of T5 and its heirs, of BART and its heirs


class DecoderStates(nn.Module):
    """An encoder-decoder of texts; its layers are those of the decoder. ``config``: as plain values; weights are fresh.

    Raises:
        ArtifactError: a model that is not known, or no encoder-decoder of texts.
    """

    kind = "decoder"

    def __init__(self, *, config: dict[str, Any]):
        super().__init__()
        from transformers import AutoConfig, AutoModel

        values = {name: value for name, value in config.items() if name not in ("auto_map", "model_type")}
        with refused("no encoder-decoder can be built from its description"), quiet_transformers():
            parsed = AutoConfig.for_model(config["model_type"], **values)
            model = AutoModel.from_config(parsed, trust_remote_code=False)
        self._adopt(model)

    @classmethod
    def of(cls, model: nn.Module) -> "DecoderStates":
        """The body around an encoder-decoder of transformers, with its weights. Raises as the class."""
        body = cls.__new__(cls)
        nn.Module.__init__(body)
        body._adopt(model)
        return body

    def _adopt(self, model: nn.Module) -> None:
        config: Any = model.config
        names = {name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
        path = next((path for path in _LAYERS if path in names), None)
        if (
            not getattr(config, "is_encoder_decoder", False)
            or path is None
            or model.main_input_name != "input_ids"
        ):
            raise ArtifactError(
                f"'{config.model_type}' is no encoder-decoder of texts that is known (T5, mT5, UMT5, BART …)"
            )
        if config.decoder_start_token_id is None or config.model_type == "mbart":
            raise ArtifactError(
                f"'{config.model_type}' does not say with which token its decoder begins (mBART: with the language's own); "
                "choose T5, BART or another encoder-decoder that does"
            )
        self.arguments = {
            "config": {**json.loads(config.to_json_string(use_diff=False)), "architectures": None}
        }
        self.model = model
        self.width: int = config.hidden_size
        self._path = path
        stack: Any = model.get_submodule(path)
        self.num_layers = len(stack)
        self._start: int = config.decoder_start_token_id
        limit = getattr(config, "max_position_embeddings", None)
        self.max_positions = limit if isinstance(limit, int) and limit > 0 else None

    def forward(self, tokens: TokenBatch, exits: Sequence[int]) -> dict[int, Float[Tensor, "tokens width"]]:
        """The decoder's hidden states after each layer in ``exits`` (0: its embedding output)."""
        ids, mask = tokens.padded(pad_id=0)
        padded = {layer: self.forward_padded(ids, mask, layer) for layer in exits}
        return {layer: hidden[tokens.sequence, tokens.position] for layer, hidden in padded.items()}

    def forward_padded(self, input_ids: Tensor, attention_mask: Tensor, layer: int) -> Tensor:
        """The decoder's hidden states after ``layer`` of texts that end in padding. Shapes: two of (B, L) → (B, L, D)."""
        stack: Any = self.model.get_submodule(self._path)
        view = replaced(self.model, self._path, nn.ModuleList(stack[: max(layer, 1)]))
        late = torch.cat([torch.full_like(input_ids[:, :1], self._start), input_ids[:, :-1]], dim=1)
        output = view(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=late,
            output_hidden_states=layer == 0,
            use_cache=False,
        )
        return output.decoder_hidden_states[0] if layer == 0 else output.last_hidden_state

    def flops(self, lengths: Sequence[int], layers: int) -> int:
        """Twice the weights of the matrices per token, and 4n²D for each attention of the encoder and of ``layers``."""
        stack: Any = self.model.get_submodule(self._path)
        encoder: Any = self.model.get_submodule("encoder")
        above = sum(p.numel() for layer in stack[:layers] for p in layer.parameters() if p.ndim == 2)
        below = sum(
            p.numel() for name, p in encoder.named_parameters() if p.ndim == 2 and "embed" not in name
        )
        config: Any = self.model.config
        passes = config.num_hidden_layers + 2 * layers
        return sum(2 * n * (above + below) + passes * 4 * n * n * self.width for n in lengths)
