"""Configurable foundation models: one base language model and a library of bricks, configured for each request.

Xiao et al.: Configurable Foundation Models: Building LLMs from a Modular Perspective. arXiv 2409.02877, 2024.

What is learnt: for each domain of the data a *custom brick*, a small change of a frozen language model, with the key by
which requests find it. A brick is a file of its own; the operations on a library of them are those of the paper's section
3: retrieve and route, merge, update (erase and put back), grow.

| paper          | here               | shape   | meaning                                                       |
|----------------|--------------------|---------|---------------------------------------------------------------|
| base           | encoder            |         | frozen causal language model                                  |
| custom brick   | Brick              |         | lora: Δ_b = (α/b)·B[:, :b]·A[:b], where r alone is trained of |
|                |                    |         | (α/r)·B·A the same columns and rows; prompt; expert block     |
| b              | rank               |         | rank of a request, 1 … r                                      |
| e(x)           | embed_texts        | (D,)    | a request: mean of its tokens' early hidden states            |
| k_b, θ_b       | keys               | (D,), 2 | key of a brick, and the similarity below which it abstains    |
| τ_t            | Brick.change       |         | task vector, what merging adds up                             |

    L = −mean over tokens of log p(x_t | x_<t; base + brick of the text's domain at rank b)

Differences from the paper: see README.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from brickwork.encoders.causal_lm import HubCausalLM
from brickwork.encoders.tokenization import token_windows
from brickwork.modules.bricks import Brick, check_name, load_library, save_bricks
from brickwork.modules.merging import MergeConfig
from brickwork.modules.model_hash import model_hash
from brickwork.modules.mounting import applied, combine
from brickwork.modules.sampling import continue_text, text_after
from brickwork.representation.contract import complete
from brickwork.systems.configurable_foundation_models.base import load_base
from brickwork.systems.configurable_foundation_models.config import BricksConfig, OwnBase
from brickwork.systems.configurable_foundation_models.data import Data, load_data
from brickwork.systems.configurable_foundation_models.emergent import EmergentBricks
from brickwork.systems.configurable_foundation_models.erasing import per_token
from brickwork.systems.configurable_foundation_models.learning import LEARNT, LENGTH
from brickwork.systems.configurable_foundation_models.merged import write_merged
from brickwork.systems.configurable_foundation_models.routing import (
    BASE,
    KEYS,
    embed_texts,
    key_depth,
    learn_keys,
    route,
)

__all__ = ["Config", "Data", "System", "load_data"]

Config = BricksConfig
_WINDOWS = 8


@complete
class System(nn.Module):
    """The base, the bricks while they learn, and their keys. ``domains``: the bricks' names, in order."""

    reads = ("texts",)
    input_kind = "texts"

    def __init__(self, config: BricksConfig, encoder: HubCausalLM, *, seed: int, domains: Sequence[str]):
        super().__init__()
        self.config, self.encoder, self.seed = config, encoder, seed
        self.domains = tuple(domains)
        limit = encoder.max_positions
        prompt = (config.length or LENGTH) if config.kind == "prompt" else 0
        if limit is not None and config.context + prompt > limit:
            before = f" and a prompt of {prompt}" if prompt else ""
            raise ConfigError(
                f"context={config.context}{before} is more than the {limit} that the base reads; "
                f"use at most {limit - prompt}"
            )
        # A published base is frozen; of our own, the run's stages say when it learns, and its embeddings never do.
        encoder.requires_grad_(isinstance(config.base, OwnBase))
        encoder.model.get_input_embeddings().requires_grad_(False)  # type: ignore[operator]
        self.bricks = nn.ModuleList(LEARNT[config.kind](encoder.model, config) for _ in self.domains)
        self.depth = 0 if isinstance(config.base, OwnBase) else key_depth(encoder)
        for part, size in KEYS.items():
            self.register_buffer(part, torch.zeros(len(self.domains), size or encoder.width))

    @staticmethod
    def variant(config: BricksConfig) -> type[nn.Module]:
        """Bricks are trained, or those that emerged in the base are found."""
        return System if config.find is None else EmergentBricks

    @staticmethod
    def build(config: BricksConfig, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The base and untrained bricks, with the keys of the domains of ``data``.

        Raises:
            ConfigError: a domain whose name no brick can have.
            ArtifactError: the base is missing, damaged, unsafe or no causal language model.
        """
        domains = [str(name) for name in data.train.columns["domain"]]
        for name in (names := sorted(set(domains))):
            check_name(name)
        encoder = load_base(config)
        system = System(config, encoder, seed=seed, domains=names)
        keys = learn_keys(encoder, list(data.train.columns["input"]), domains, system.depth, config.abstain)
        for part in KEYS:
            getattr(system, part).copy_(torch.stack([keys[name][part] for name in names]))
        system.facts = {"domains": names}  # type: ignore[assignment]
        return system

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Windows of at most ``context`` + 1 tokens, none left out: ``ids``, ``mask``, and the ``brick`` of each."""
        ids, mask, owners = token_windows(self.encoder.tokenizer, columns["input"], self.config.context)
        places = [self.domains.index(str(columns["domain"][owner])) for owner in owners]
        return {"ids": ids, "mask": mask, "brick": torch.tensor(places, dtype=torch.int64)}

    def nats(self, ids: Tensor, mask: Tensor) -> Float[Tensor, "windows tokens"]:
        """−log p of each next token, with what is on the base now; 0 where there is none."""
        logits = self.encoder(ids[:, :-1]).logits  # padding comes last, so no token sees it
        nats = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        return nats.view(mask.shape) * mask

    def loss(self, batch: Batch) -> LossOutput:
        """L with each window on its own domain's brick, at one rank a step; in the stage ``base`` without bricks."""
        ids, mask, owner = batch["ids"], batch["mask"], batch["brick"]
        count = mask.sum().clamp(min=1)
        if batch.get("stage") == "base":
            return LossOutput.of({"base": self.nats(ids, mask).sum() / count})
        rank = self._drawn_rank(batch["step"])
        total = ids.new_zeros((), dtype=torch.float32)
        for place in sorted(set(owner.tolist())):
            rows = owner == place
            with self.bricks[place].on(self.encoder.model, rank):
                total = total + self.nats(ids[rows], mask[rows]).sum()
        return LossOutput.of({"language": total / count}, stats={"rank": float(rank or 0)})

    def _drawn_rank(self, step: int) -> int | None:
        """b ~ uniform on 1 … r, one for all bricks."""
        if self.config.kind != "lora" or self.config.ranks == "full":
            return None
        first: Any = self.bricks[0]
        return int(torch.randint(1, first.rank + 1, (), generator=generator_for(self.seed, step, "rank")))

    # ---- the library ------------------------------------------------------------------------------------------

    def own_bricks(self, base: str | None = None) -> dict[str, Brick]:
        """The bricks that were trained, by name, each with its keys. ``base``: the hash of the base, where it is known."""
        known = base or self.base_hash()
        return {name: self._brick(place, known) for place, name in enumerate(self.domains)}

    def _brick(self, place: int, base: str) -> Brick:
        learnt: Any = self.bricks[place]
        scales = {"alpha": learnt.alpha, "scaling": learnt.scaling} if learnt.kind == "lora" else {}
        weights = {name: part.cpu() for name, part in learnt.weights(self.encoder.model).items()}
        keys = {part: getattr(self, part)[place].detach().cpu().clone() for part in KEYS}
        return Brick(name=self.domains[place], kind=learnt.kind, base=base, weights=weights, keys=keys,
                     trained_on={"domain": self.domains[place], "base": str(self.config.base)}, **scales)  # fmt: skip

    def base_hash(self) -> str:
        """The hash of the base as it is now."""
        return model_hash(self.encoder.model, self.encoder.tokenizer)

    def export_bricks(self, folder: Path | str, brick: str = "") -> Path:
        """Adds the bricks to a library, a folder each; ``brick``: names joined by ``+`` (none: all of them).

        Raises:
            ConfigError: no such brick.
        """
        own = self.own_bricks()
        names = [name.strip() for name in brick.split("+")] if brick else list(own)
        if unknown := [name for name in names if name not in own]:
            raise _unknown(unknown[0], own)
        return save_bricks([own[name] for name in names], folder)

    def route(
        self, texts: Sequence[str], bricks: Mapping[str, Brick] | None = None
    ) -> tuple[list[str], Float[Tensor, " texts"]]:
        """The name of the brick that each text belongs to, or ``base``, and its similarity to the nearest key."""
        return route(
            embed_texts(self.encoder, texts, self.depth), self.own_bricks() if bricks is None else bricks
        )

    def configured(
        self,
        brick: str,
        rank: int | None = None,
        merging: MergeConfig | None = None,
        *,
        bricks: Mapping[str, Brick] | None = None,
    ) -> Brick | None:
        """The one brick that an expression means: a name, ``base``, or names joined by ``+``, taken away with a ``-`` before
        the name (``A+B``, ``-A``). One name alone is itself; all else is merged (none: as task arithmetic, the sum).

        Raises:
            ConfigError: no such brick, or bricks that cannot be merged.
        """
        known = self.own_bricks() if bricks is None else bricks
        if brick == BASE:
            if rank is not None or merging is not None:
                raise ConfigError("rank and merge have no effect on the base alone; leave them out")
            return None
        terms = []
        for term in brick.split("+"):
            name = term.strip().removeprefix("-")
            if name not in known:
                raise _unknown(name, known)
            terms.append((known[name], -1.0 if term.strip().startswith("-") else 1.0))
        if len(terms) == 1 and terms[0][1] > 0:
            return terms[0][0]
        return combine(terms, merging or MergeConfig(method="task-arithmetic"), rank, seed=self.seed)

    @contextmanager
    def on(self, brick: Brick | None, rank: int | None = None, base: str | None = None) -> Iterator[None]:
        """The base with a brick while entered; a merged one has its rank already. ``base``: as of :meth:`own_bricks`.

        Raises:
            ConfigError: the vectors of a prompt and a window of text are more than the base reads.
        """
        limit, context, length = self.encoder.max_positions, self.config.context, _prompt_length(brick)
        if brick is not None and length and limit is not None and context + length > limit:
            raise ConfigError(
                f"brick '{brick.name}' puts {length} vectors before a window of {context} tokens, more than the {limit} "
                f"that the base reads; set model.context={max(limit - length, 0)} or less in a run for it"
            )
        at = rank if brick is not None and brick.kind == "lora" else None
        with applied(self.encoder.model, brick, at, base=base):
            yield

    # ---- what it does -----------------------------------------------------------------------------------------

    def predict(
        self,
        columns: Mapping[str, Any],
        brick: str = "auto",
        rank: int | None = None,
        max_tokens: int = 0,
        library: str = "",
        merge: str = "",
    ) -> dict[str, Any]:
        """Each text's ``brick`` and ``similarity`` to the nearest key, its ``nats_per_token`` with the brick, and
        ``nats_base`` without; with ``max_tokens`` also an ``answer``, the likeliest continuation.

        ``brick``: ``auto`` (by key, or the base), a name, ``base``, or an expression (:meth:`configured`). ``rank``: of
        lora bricks. ``library``: a folder of bricks instead of those of the run. ``merge``: a method for expressions.

        Raises:
            ConfigError: no such brick or method, or a rank that a brick does not have.
            ArtifactError: no library, or a damaged brick.
        """
        texts = [str(text) for text in columns["input"]]
        known = self.base_hash()
        bricks = load_library(library) if library else self.own_bricks(known)
        findable = bricks if brick == "auto" else {name: one for name, one in bricks.items() if one.keys}
        chosen, similar = self.route(texts, findable)
        chosen = chosen if brick == "auto" else [brick] * len(texts)
        merging = MergeConfig(method=merge) if merge else None  # type: ignore[arg-type]
        sums, counts = self.text_nats(texts)
        base = per_token(sums, counts)
        results = base.copy()
        answers = [""] * len(texts)
        for name in sorted(set(chosen)):
            rows = [place for place, other in enumerate(chosen) if other == name]
            one = self.configured(name, rank, merging, bricks=bricks)
            with self.on(one, rank, known):
                some = [texts[row] for row in rows]
                if one is not None:
                    sums, counts = self.text_nats(some)
                    results[rows] = per_token(sums, counts)
                for row in rows if max_tokens else ():
                    answers[row] = self._continued(texts[row], max_tokens, 0.0, 0, 0, _prompt_length(one))
        scores = {
            "brick": chosen,
            "similarity": similar.cpu().numpy(),
            "nats_per_token": results,
            "nats_base": base,
        }
        return {**scores, **({"answer": answers} if max_tokens else {})}

    def generate(
        self, prompts: Sequence[str], *, max_tokens: int, temperature: float, top_k: int, seed: int
    ) -> list[str]:
        """Continuations, each by the brick whose key is nearest to its prompt, or by the base.

        Raises:
            ConfigError: a prompt and what is to follow are longer than the base can read.
        """
        known = self.base_hash()
        bricks = self.own_bricks(known)
        chosen, _ = self.route(prompts, bricks)
        results = []
        for prompt, name in zip(prompts, chosen):
            brick = bricks.get(name)
            with self.on(brick, base=known):
                results.append(
                    self._continued(prompt, max_tokens, temperature, top_k, seed, _prompt_length(brick))
                )
        return results

    def _continued(
        self, prompt: str, max_tokens: int, temperature: float, top_k: int, seed: int, before: int
    ) -> str:
        """``before``: the vectors of a brick that stand before the prompt."""
        ids, limit = self.encoder.tokenizer.encode(prompt or "\n").ids, self.encoder.max_positions
        if limit is not None and before + len(ids) + max_tokens > limit:
            vectors = f" and a brick of {before} vectors" if before else ""
            raise ConfigError(
                f"max_tokens={max_tokens} after a prompt of {len(ids)} tokens{vectors} is more than the {limit} that the "
                "base reads; ask for fewer, or shorten the prompt"
            )
        new = continue_text(self.encoder, ids, max_tokens=max_tokens, temperature=temperature, top_k=top_k,
                            generator=generator_for(seed, 0, prompt), stop=self.encoder.end_ids,
                            device=next(self.parameters()).device)  # fmt: skip
        return text_after(self.encoder.tokenizer, ids, new)

    @torch.no_grad()
    def text_nats(
        self, texts: Sequence[str]
    ) -> tuple[Float[np.ndarray, " texts"], Float[np.ndarray, " texts"]]:
        """The sum of −log p over the predicted tokens of each text, with what is on the base now, and their number."""
        ids, mask, owners = token_windows(self.encoder.tokenizer, texts, self.config.context)
        device = next(self.parameters()).device
        sums, counts = np.zeros(len(texts)), np.zeros(len(texts))
        for start in range(0, len(ids), _WINDOWS):
            rows = slice(start, start + _WINDOWS)
            nats = self.nats(ids[rows].to(device), mask[rows].to(device))
            np.add.at(sums, owners[rows], nats.sum(1).double().cpu().numpy())
            np.add.at(counts, owners[rows], mask[rows].sum(1).double().numpy())
        return sums, counts

    def _nats_with(
        self, texts: Sequence[str], names: Sequence[str], bricks: Mapping[str, Brick], base: str
    ) -> Float[np.ndarray, " texts"]:
        """Nats per token of each text, with the brick that is named for it."""
        results = np.zeros(len(texts))
        for name in sorted(set(names)):
            rows = [row for row, other in enumerate(names) if other == name]
            with self.on(bricks.get(name), base=base):
                sums, counts = self.text_nats([texts[row] for row in rows])
            results[rows] = per_token(sums, counts)
        return results

    def by_brick(self, texts: Sequence[str]) -> Float[np.ndarray, "texts bricks"]:
        """Nats per token of each text without a brick (first column) and with each of them."""
        known = self.base_hash()
        bricks = self.own_bricks(known)
        return np.stack(
            [self._nats_with(texts, [name] * len(texts), bricks, known) for name in (BASE, *bricks)], axis=1
        )

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Nats per token with the right brick, the routed one, and none; of each domain; and how routing did: the share of
        texts that got the right brick, and that were left to the base."""
        texts, domains = list(examples.columns["input"]), [str(d) for d in examples.columns["domain"]]
        known = self.base_hash()
        bricks = self.own_bricks(known)
        chosen, _ = self.route(texts, bricks)
        base = self._nats_with(texts, [BASE] * len(texts), bricks, known)
        right, routed = self._nats_with(texts, domains, bricks, known), base.copy()
        agree = np.array([one == other for one, other in zip(chosen, domains)], dtype=bool)
        routed[agree] = right[agree]
        others = [row for row, name in enumerate(chosen) if not agree[row] and name != BASE]
        routed[others] = self._nats_with(
            [texts[row] for row in others], [chosen[row] for row in others], bricks, known
        )
        scores = {
            "nats_per_token": float(np.nanmean(right)),
            "nats_routed": float(np.nanmean(routed)),
            "nats_base": float(np.nanmean(base)),
            "routed_right": float(agree.mean()),
            "left_to_base": float(np.mean([name == BASE for name in chosen])),
        }
        for name in sorted(set(domains)):
            scores[f"nats_per_token/{name}"] = float(np.nanmean(right[[d == name for d in domains]]))
        return scores

    def draw(self, examples: Examples) -> list[Any]:
        """What each brick gains on each domain, which brick the keys choose and where they abstain, sizes of bricks."""
        from brickwork.systems.configurable_foundation_models.drawing import library_drawings

        return library_drawings(self, examples)

    def export_merged(
        self, folder: Path | str, brick: str = "", rank: int | None = None, merge: str = ""
    ) -> Path:
        """The base with bricks in its weights, as a folder that transformers loads. ``brick``: an expression
        (:meth:`configured`; none: all of them averaged).

        Raises:
            ConfigError: no such brick, one that is no change of weights, or ``folder`` is not empty.
        """
        names = brick or "+".join(self.domains)
        merging = MergeConfig(method=merge or "average") if merge or not brick else None  # type: ignore[arg-type]
        one = self.configured(names, rank, merging)
        if one is not None and one.kind not in ("lora", "delta"):
            raise ConfigError(
                f"brick '{one.name}' is of kind {one.kind}, which is no change of weights; export it with --to bricks"
            )
        with self.on(one, rank):
            what = "as it came" if one is None else f"with the bricks {names} in its weights"
            return write_merged(self.encoder, folder, what, _called(self.config.base))


def _prompt_length(brick: Brick | None) -> int:
    return len(brick.weights["prompt"]) if brick is not None and brick.kind == "prompt" else 0


def _called(base: str | OwnBase) -> str:
    return base if isinstance(base, str) else "trained from scratch in this run"


def _unknown(name: str, known: Mapping[str, Brick]) -> ConfigError:
    return ConfigError(f"there is no brick '{name}'; there are {', '.join(known)}, and '{BASE}' for none")
