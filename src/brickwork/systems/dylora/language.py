"""DyLoRA on a causal language model that goes on learning to continue texts: the same adapters, another loss.

    L_b = −mean over tokens of log p(x_t | x_<t) at the rank b of the step

Perplexity by rank takes the place of accuracy by rank. Texts are cut into windows of ``max_tokens``. All data of texts is
read, for its texts alone.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.causal_lm import HubCausalLM, load_causal_lm
from brickwork.encoders.tokenization import token_windows
from brickwork.modules.adapters import inject_lora
from brickwork.modules.sampling import continue_text, text_after
from brickwork.representation.contract import complete
from brickwork.representation.export_peft import export_peft
from brickwork.systems.dylora.backbones import published_name
from brickwork.systems.dylora.config import DyloraConfig
from brickwork.systems.dylora.ranks import drawn_ranks, usual_ranks

_WINDOWS = 8
_WITHIN = 0.01  # of the best rank's nats: as good


@complete
class LanguageSystem(nn.Module):
    """A frozen language model with adapters; its own head is frozen too."""

    reads = ("text",)

    def __init__(self, config: DyloraConfig, encoder: HubCausalLM, *, seed: int, base: str | None):
        super().__init__()
        self.config = config
        self.encoder = encoder.requires_grad_(False)
        self.context = config.max_tokens or 128
        if encoder.max_positions is not None and self.context > encoder.max_positions:
            raise ConfigError(
                f"max_tokens={self.context} is more than the {encoder.max_positions} of {config.backbone}; use at most these"
            )
        self.adapters = inject_lora(
            encoder.model,
            config.targets,
            rank=config.rank,
            alpha=config.alpha,
            scaling=config.scaling,
            sizes=config.sizes(),
            dropout=config.dropout,
        )
        self.base = base
        self.seed = seed

    @staticmethod
    def facts(config: DyloraConfig, data: TaskData) -> dict[str, Any]:
        """The name of the published model that adapters are exported for."""
        return {"base": published_name(config.backbone)}

    @staticmethod
    def build_encoder(config: DyloraConfig, data: TaskData, assets: Path | None) -> HubCausalLM:
        """The language model as it is.

        Raises:
            ArtifactError: it is missing, damaged, unsafe or no causal language model.
        """
        return load_causal_lm(str(config.backbone), config.revision)

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Windows of at most ``max_tokens`` + 1 tokens, none left out: ``ids`` and ``mask`` of (windows, tokens)."""
        ids, mask, _ = token_windows(self.encoder.tokenizer, texts_in(columns), self.context)
        return {"ids": ids, "mask": mask}

    def nats(self, batch: Batch) -> Float[Tensor, "windows tokens"]:
        """−log p of each next token at the rank that is set; 0 where there is none."""
        ids, mask = batch["ids"], batch["mask"]
        logits = self.encoder(ids[:, :-1]).logits  # padding comes last, so no token sees it
        nats = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        return nats.view(mask.shape) * mask

    def loss(self, batch: Batch) -> LossOutput:
        """L_b at the rank b of the step; with ``sandwich`` the mean of two."""
        ranks = drawn_ranks(self.config, self.seed, batch["step"])
        terms = {}
        for name, b in zip(("rank_drawn", "rank_full"), ranks):
            how = {"last_only": self.config.update == "frozen", "drift": self.config.idle == "drift"}
            with self.adapters.rank(b, **how):
                terms[name] = self.nats(batch).sum() / batch["mask"].sum().clamp(min=1)
        return LossOutput.of(terms, dict.fromkeys(terms, 1 / len(terms)), {"rank": float(ranks[0])})

    @torch.no_grad()
    def curve(self, examples: Examples, ranks: Sequence[int] | None = None) -> dict[int, float]:
        """Nats per token at every rank, or at ``ranks``; 0: without adapters."""
        ids, mask, _ = token_windows(self.encoder.tokenizer, texts_in(examples.columns), self.context)
        device = next(self.parameters()).device
        results = {}
        for rank in range(1, self.adapters.max_rank + 1) if ranks is None else ranks:
            total = 0.0
            with self._at(rank):
                for start in range(0, len(ids), _WINDOWS):
                    rows = slice(start, start + _WINDOWS)
                    batch = {"ids": ids[rows].to(device), "mask": mask[rows].to(device)}
                    total += float(self.nats(batch).double().sum())
            results[rank] = total / max(int(mask.sum()), 1)
        return results

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Perplexity without adapters, at powers of two and at r, nats per token at r, and the smallest of these ranks whose
        nats are within a hundredth of the best."""
        ranks = usual_ranks(self.adapters.max_rank)
        nats = self.curve(examples, (0, *ranks))
        best = min(nats[rank] for rank in ranks)
        at = {f"perplexity_rank_{rank}": _perplexity(nats[rank]) for rank in ranks[:-1]}
        return {
            "perplexity": _perplexity(nats[ranks[-1]]),
            **at,
            "perplexity_untouched": _perplexity(nats[0]),
            "nats_per_token": nats[ranks[-1]],
            "recommended_rank": float(min(rank for rank in ranks if nats[rank] <= best * (1 + _WITHIN))),
        }

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int, temperature: float, top_k: int, seed: int
    ) -> list[str]:
        """Continuations at the rank that is set (at first r), each drawn by itself; they stop where the model ends a text.

        Raises:
            ConfigError: a prompt and what is to follow are longer than the model can read.
        """
        tokenizer, limit = self.encoder.tokenizer, self.encoder.max_positions
        results = []
        for prompt in prompts:
            ids = tokenizer.encode(prompt or "\n").ids
            if limit is not None and len(ids) + max_tokens > limit:
                raise ConfigError(
                    f"max_tokens={max_tokens} after a prompt of {len(ids)} tokens is more than the {limit} that the model "
                    "reads; ask for fewer, or shorten the prompt"
                )
            new = continue_text(
                self.encoder,
                ids,
                max_tokens=max_tokens,
                temperature=temperature,
                top_k=top_k,
                generator=generator_for(seed, 0, prompt),
                stop=self.encoder.end_ids,
                device=next(self.parameters()).device,
            )
            results.append(text_after(tokenizer, ids, new))
        return results

    def export_peft(self, folder: Path | str, rank: int | None = None) -> Path:
        """The adapters at ``rank`` as a PEFT adapter of the causal language model."""
        return export_peft(self.adapters, folder, rank, base=self.base, task="CAUSAL_LM")

    @contextlib.contextmanager
    def _at(self, rank: int) -> Iterator[None]:
        with self.adapters.off() if rank == 0 else self.adapters.rank(rank):
            yield


def texts_in(columns: Mapping[str, Any]) -> list[str]:
    """The texts of a batch of any kind: the inputs, of pairs what an anchor belongs to (the documents)."""
    return list(columns["input"] if "input" in columns else columns["positive"])


def _perplexity(nats: float) -> float:
    return float(np.exp(min(nats, 50.0)))
