"""A causal language model of transformers, behind the contract that ours has too (:class:`CausalLM`).

Hidden states and logits are transformers' own.
"""

import copy
import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from tokenizers import Tokenizer
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.types import Decoded
from brickwork.encoders.hub_weights import refused
from brickwork.encoders.partial import quiet_transformers, replaced
from brickwork.encoders.tokenization import read_tokenizer


class HubCausalLM(nn.Module):
    """A language model of transformers whose layers attend. ``config``: its configuration as plain values; fresh weights.

    ``end_ids``: tokens that end a text. ``max_positions``: how many tokens it can read, ``None``: no limit is set.

    Raises:
        ArtifactError: a model that is not known, reads in both directions, or has no attention.
    """

    kind = "language"

    def __init__(self, *, config: dict[str, Any], tokenizer: Tokenizer):
        super().__init__()
        from transformers import AutoConfig, AutoModelForCausalLM

        values = {name: value for name, value in config.items() if name not in ("auto_map", "model_type")}
        with refused("no language model can be built from its description"), quiet_transformers():
            parsed = AutoConfig.for_model(config["model_type"], **values)
            model = AutoModelForCausalLM.from_config(parsed, trust_remote_code=False)
        self._adopt(model, tokenizer)

    @classmethod
    def of(cls, model: nn.Module, tokenizer: Tokenizer) -> "HubCausalLM":
        """The language model around one of transformers, with its weights. Raises as the class."""
        language = cls.__new__(cls)
        nn.Module.__init__(language)
        language._adopt(model, tokenizer)
        return language

    def _adopt(self, model: nn.Module, tokenizer: Tokenizer) -> None:
        config: Any = model.config
        shape = {name: getattr(config, name, None) for name in ("num_attention_heads", "num_hidden_layers")}
        if missing := [name for name, value in shape.items() if not isinstance(value, int)]:
            raise ArtifactError(
                f"'{config.model_type}' has no {' and no '.join(missing)}, so it is no stack of layers with attention; "
                "choose another language model"
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.num_layers: int = config.num_hidden_layers
        self.num_heads: int = config.num_attention_heads
        self.num_kv_heads: int = getattr(config, "num_key_value_heads", None) or self.num_heads
        self.width: int = model.get_input_embeddings().embedding_dim  # type: ignore[operator]
        ends = config.eos_token_id
        self.end_ids: tuple[int, ...] = (
            tuple(ends) if isinstance(ends, list) else (() if ends is None else (ends,))
        )
        limit = getattr(config, "max_position_embeddings", None)
        self.max_positions = limit if isinstance(limit, int) and limit > 0 else None
        self.arguments = {
            "config": {**json.loads(config.to_json_string(use_diff=False)), "architectures": None}
        }
        parameters = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in parameters
        self._cache = (
            "cache" if "cache" in parameters else "past_key_values"
        )  # its name before transformers 5.24
        vocabulary = model.get_input_embeddings().num_embeddings  # type: ignore[operator]
        known = tokenizer.get_vocab_size(
            with_added_tokens=False
        )  # some have added a token for padding, unused here
        if vocabulary < max(3, known):
            raise ArtifactError(
                f"its tokenizer has {known:,} tokens and its weights {vocabulary:,}, so they are not of one language model; "
                "use a good copy"
            )
        self._check()

    def embed(self, ids: Int64[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens width"]:
        """What goes in as ``inputs_embeds``."""
        return self.model.get_input_embeddings()(ids)  # type: ignore[operator]

    def head(self, hidden: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens vocabulary"]:
        """The logits of last hidden states: the model's own code around its layers, with scales and caps."""
        ids = hidden.new_zeros(hidden.shape[:2], dtype=torch.int64)
        around = replaced(self.model, str(self.model.base_model_prefix), _Given(hidden))
        return around(input_ids=ids, use_cache=False).logits

    def forward(
        self,
        ids: Int64[Tensor, "batch tokens"] | None = None,
        mask: Bool[Tensor, "batch _"] | None = None,
        cache: Any = None,
        *,
        inputs_embeds: Float[Tensor, "batch tokens width"] | None = None,
        with_hidden: bool = False,
    ) -> Decoded:
        """As :class:`CausalLM` has it. With a cache, ``mask`` has the tokens before as well; padding may stand anywhere.

        Raises:
            ConfigError: both ids and ``inputs_embeds``, or neither.
        """
        if (ids is None) == (inputs_embeds is None):
            raise ConfigError("a language model reads ids or inputs_embeds: give one of them")
        tokens = (ids if ids is not None else inputs_embeds).shape[1]  # type: ignore[union-attr]
        places: dict[str, Tensor] = {}
        if mask is not None:
            places["attention_mask"] = mask.to(torch.int64)
            if self._takes_positions:  # a token's place among those that exist
                places["position_ids"] = (mask.to(torch.int64).cumsum(1) - 1).clamp(min=0)[:, -tokens:]
        output = self.model(
            input_ids=ids,
            inputs_embeds=inputs_embeds,
            output_hidden_states=with_hidden,
            use_cache=True,
            **{self._cache: _copied(cache), **places},
        )
        hidden = tuple(output.hidden_states) if with_hidden else ()
        return Decoded(logits=output.logits, cache=output.get(self._cache), hidden=hidden)

    def architecture(self) -> dict[str, Any]:
        """JSON values from which :meth:`from_architecture` rebuilds this model, without its weights and its tokenizer."""
        return {"kind": self.kind, "body": "hub", "arguments": self.arguments}

    @classmethod
    def from_architecture(cls, architecture: Mapping[str, Any], tokenizer_json: str) -> "HubCausalLM":
        """The model that ``architecture`` describes, with fresh weights.

        Raises:
            ArtifactError: the description does not fit this version.
        """
        try:
            config = dict(architecture["arguments"]["config"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the description of the language model is damaged: {error!r}") from error
        return cls(config=config, tokenizer=read_tokenizer(tokenizer_json, "tokenizer.json"))

    @torch.no_grad()
    def _check(self) -> None:
        """Tries that no token sees a later one, and that the head is the one of the hidden states."""
        parameter = next(self.model.parameters())
        ids = torch.tensor([[0, 1], [0, 2]], device=parameter.device)
        out = self(ids, with_hidden=True)
        kind = f"'{self.model.config.model_type}'"  # type: ignore[union-attr]
        if not torch.allclose(out.logits[0, 0], out.logits[1, 0], rtol=1e-3, atol=1e-5):
            raise ArtifactError(
                f"{kind} reads in both directions, so it continues no text; choose a causal language model"
            )
        if out.cache is None or not torch.allclose(
            self.head(out.hidden[-1]), out.logits, rtol=1e-3, atol=1e-4
        ):
            raise ArtifactError(
                f"{kind} gives its hidden states or its keys in an unknown way; choose another language model"
            )


class _Given(nn.Module):
    """Stands for the layers of a model: returns a hidden state, whatever it is asked."""

    def __init__(self, hidden: Tensor):
        super().__init__()
        self.hidden = hidden
        object.__setattr__(self, "decoder", self)  # where OPT looks for its layers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions as Output

        return Output(last_hidden_state=self.hidden)


def _copied(cache: Any) -> Any:
    """A cache that grows apart from the one that was given: transformers adds to it in place."""
    if cache is None:
        return None
    grown = copy.copy(cache)
    grown.layers = [copy.copy(layer) for layer in cache.layers]
    return grown
