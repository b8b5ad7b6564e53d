"""A language model with some of its heads left, kept as a model of its own that continues texts."""

import copy
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.seeding import generator_for
from brickwork.modules.pruning import Removed, prune, prune_as
from brickwork.modules.sampling import continue_text, text_after
from brickwork.representation.folder import tied_names
from brickwork.systems.sae_circuits.config import Ablation
from brickwork.systems.sae_circuits.effects import heads_name
from brickwork.systems.sae_circuits.subjects import Subject, rebuild


class PrunedModel(nn.Module):
    """``model`` without the heads ``removed`` (by name). ``described``: what it was before. ``why``: the condition."""

    slug = "sae-circuits"

    def __init__(self, model: Any, described: dict[str, Any], removed: Removed, why: str):
        super().__init__()
        self.model = model
        self.tokenizer = model.tokenizer
        self.described, self.removed, self.why = described, removed, why
        self.facts: dict[str, Any] = {}
        # An output layer that is the token embedding is kept once.
        self._tied = tied_names(self)
        self.register_state_dict_post_hook(_without_tied)
        self.register_load_state_dict_pre_hook(_with_tied)
        gone = sum(map(len, removed.values()))
        left = sum(p.numel() for p in self.parameters())
        self.card = {
            "name": "A language model with some of its heads",
            "summary": f"What is left of a language model when the heads are kept for which {why}: {gone} heads are "
            f"gone, and what stands for them, if anything, is in the biases; {left:,} parameters are left. It gives the "
            "next token of the behaviour that it was cut to; nothing else of it was measured.",
            "capabilities": ["generates"],
        }

    def architecture(self) -> dict[str, Any]:
        return {"pruned": self.removed, "why": self.why, "subject": self.described}

    @classmethod
    def restore(cls, architecture: dict[str, Any], tokenizer_json: str) -> "PrunedModel":
        """The model with fresh weights of the right shapes.

        Raises:
            ArtifactError: the description does not fit this version.
        """
        removed = {name: list(parts) for name, parts in architecture["pruned"].items()}
        model = rebuild(architecture["subject"], tokenizer_json)
        try:
            prune_as(model, removed)
        except ConfigError as error:
            raise ArtifactError(f"the description of the pruned model is damaged: {error}") from error
        return cls(model, dict(architecture["subject"]), removed, str(architecture["why"]))

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int, temperature: float, top_k: int, seed: int
    ) -> list[str]:
        """Each prompt continued."""
        results = []
        for number, prompt in enumerate(prompts):
            ids = self.tokenizer.encode(prompt).ids or [0]
            new = continue_text(
                self.model,
                ids,
                max_tokens=max_tokens,
                temperature=temperature,
                top_k=top_k,
                generator=generator_for(seed, number, "continue"),
                stop=getattr(self.model, "end_ids", ()),
            )
            results.append(text_after(self.tokenizer, ids, new))
        return results


def _without_tied(module: nn.Module, state: Any, prefix: str, _: Any) -> None:
    for name in module._tied:  # type: ignore[union-attr]
        state.pop(prefix + name)


def _with_tied(module: nn.Module, state: Any, prefix: str, *_: Any) -> None:
    for name, source in module._tied.items():  # type: ignore[union-attr,operator]
        state[prefix + name] = state[prefix + source]


@torch.no_grad()
def prune_subject(
    subject: Subject, kept: Collection[tuple[int, int]], means: Tensor, ablation: Ablation, *, why: str
) -> PrunedModel:
    """A pruned copy of the model.

    Raises:
        ConfigError: heads of its kind cannot be taken out, or they were ablated with values of other prompts.
    """
    if ablation == "resample":
        raise ConfigError(
            "heads that were ablated with values of other prompts cannot be pruned: their place would have to know these; "
            "use model.ablation=mean"
        )
    layers, heads, _, _ = subject.shape
    gone = {
        heads_name(layer): tuple(head for head in range(heads) if (layer, head) not in kept)
        for layer in range(layers)
    }
    model = copy.deepcopy(subject.model)
    constants = {heads_name(layer): means[layer] for layer in range(layers)}
    removed = prune(
        model, {name: {parts: ablation} for name, parts in gone.items() if parts}, means=constants
    )
    return PrunedModel(model.eval(), dict(subject.described), removed, why)
