"""The text towers of CLIP and SigLIP, as transformers builds them, as the body of a text encoder.

Both are pooled at the last token. CLIP's is causal, so that its last token has seen the whole text; SigLIP's reads every
text filled up to one length, which it was trained with: the tokens that fill it are read like all others.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError
from brickwork.core.types import TokenBatch
from brickwork.encoders.hub_images import plain_config
from brickwork.encoders.hub_weights import refused
from brickwork.encoders.partial import quiet_transformers, run_first

TEXT_TOWERS = {"clip_text_model": "CLIPTextModel", "siglip_text_model": "SiglipTextModel"}
"""Types of models, and the class of transformers that is each."""
_LAYERS, _NORM = "encoder.layers", "final_layer_norm"


class TextTower(nn.Module):
    """A text tower; its layers are exits, each with the final norm, and with SigLIP's last matrix.

    ``config``: the model's configuration as plain values; weights are fresh. ``pad_id``: the token that texts are filled up
    with, to ``filled`` tokens (none: they are not), on the ``left`` or not.

    Raises:
        ArtifactError: a type of model that is not known.
    """

    kind = "tower"

    def __init__(self, *, config: dict[str, Any], pad_id: int, filled: int | None = None, left: bool = False):
        super().__init__()
        import transformers

        name = TEXT_TOWERS.get(str(config.get("model_type")))
        if name is None:
            raise ArtifactError(
                f"'{config.get('model_type')}' is no text tower that can be built; known: {', '.join(TEXT_TOWERS)}"
            )
        values = {key: value for key, value in config.items() if key != "model_type"}
        with refused("no text tower can be built from its description"), quiet_transformers():
            parsed = transformers.AutoConfig.for_model(config["model_type"], **values)
            model = getattr(transformers, name)._from_config(parsed)
        self._adopt(model, pad_id, filled, left)

    @classmethod
    def of(cls, model: nn.Module, pad_id: int, filled: int | None, left: bool) -> "TextTower":
        """The tower around a model of transformers, with its weights."""
        tower = cls.__new__(cls)
        nn.Module.__init__(tower)
        tower._adopt(model, pad_id, filled, left)
        return tower

    def _adopt(self, model: nn.Module, pad_id: int, filled: int | None, left: bool) -> None:
        config: Any = model.config
        self.config = plain_config(config)
        self.arguments = {"config": self.config, "pad_id": pad_id, "filled": filled, "left": left}
        self.model = model
        self.pad_id, self.filled, self.left = pad_id, filled, left
        self.num_layers: int = config.num_hidden_layers
        head = getattr(model, "head", None)
        self.width: int = config.hidden_size if head is None else head.out_features

    def fill(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Token ids as the model was trained to read them: all of one length, where it was."""
        if self.filled is None:
            return [list(row) for row in rows]
        pads = [[self.pad_id] * (self.filled - len(row)) for row in rows]
        return [[*pad, *row] if self.left else [*row, *pad] for row, pad in zip(rows, pads)]

    def forward(self, tokens: TokenBatch, exits: Sequence[int]) -> dict[int, Float[Tensor, "tokens width"]]:
        """Hidden states after each layer in ``exits`` (0: the embedding output)."""
        ids, _ = tokens.padded(pad_id=self.pad_id)
        hidden, _ = run_first(self.model, _LAYERS, max(exits), input_ids=ids)
        return {layer: self._end(hidden[layer][tokens.sequence, tokens.position]) for layer in exits}

    def forward_padded(self, input_ids: Tensor, attention_mask: Tensor, layer: int) -> Tensor:
        """Hidden states after ``layer`` of texts that end in padding. Shapes: two of (B, L) → (B, L, D)."""
        # What is behind a text is not seen by a causal model, and SigLIP has no mask.
        return self._end(run_first(self.model, _LAYERS, layer, input_ids=input_ids)[0][layer])

    def flops(self, lengths: Sequence[int], layers: int) -> int:
        """Twice the weights of the layers' matrices per token, and 4n²D per layer and text for attention."""
        stack: Any = self.model.get_submodule(_LAYERS)
        config: Any = self.model.config
        weights = sum(p.numel() for layer in stack[:layers] for p in layer.parameters() if p.ndim == 2)
        return sum(2 * n * weights + layers * 4 * n * n * config.hidden_size for n in lengths)

    def _end(self, hidden: Tensor) -> Tensor:
        normed = self.model.get_submodule(_NORM)(hidden)
        head: Any = getattr(self.model, "head", None)
        return normed if head is None else head(normed)
