"""Text2Token: vectors of texts that predict which words their texts are about.

An, Nie, Wu, Zhang, Long: Text2Token: Unsupervised Text Representation Learning with Token Target Prediction. arXiv
2510.10224. Basis: Nie, Zhang, Wu: A Text is Worth Several Tokens (ACL 2025, arXiv 2406.17378), code:
Arthurizijar/Text_aligns_tokens (its metrics; none of it is here).

What is learnt: an encoder f and, with it, a row for each of V key words, from texts alone. The vector of a text has to give
the distribution q over key words that is made from the text: first of the words in it, then of related ones too.

| paper   | here            | shape  | meaning                                                              |
|---------|-----------------|--------|----------------------------------------------------------------------|
| x       | batch[column]   | B texts| texts, tokenised                                                     |
| h       | embed           | (B, D) | f(x), pooled; what users get, at length 1                            |
| E, g    | head            | (V, D) | rows of words: learnt, or those of the model's own head              |
| T       | head.temperature|        | temperature, learnt                                                  |
| p_θ     | logits          | (B, V) | softmax(cos(h, E) / T)                                               |
| q^D     | present         | (B, K) | data-driven target: words of the text, by (1 + ln tf) ln(N/df)       |
| q^M     | related         | (B, K) | model-derived target: words beyond it, by co-occurrence or a prompt  |
| α       | config.alpha    |        | share of q^M where both are predicted                                |

    loss = KL(q ‖ p_θ) = Σ_v q_v (log q_v − log p_v),   q = (1 − α) q^D + α q^M

Flow: data.load → keywords.py, data.vocabulary, data.windows → encoders.text → head.py → objectives.distillation →
training.loop → reading.py (dense and sparse views, reasons) → index.

Differences from the paper: README.md. Shape legend: B texts, V key words, K words of a target, D width.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from brickwork.core.seeding import uniforms
from brickwork.core.types import Batch, LossOutput, TokenBatch, WordShare
from brickwork.data.types import TaskData
from brickwork.encoders.build import build_text_encoder, load_published_encoder
from brickwork.encoders.packaged import is_gguf
from brickwork.encoders.text import TextEncoder
from brickwork.encoders.tokenization import MASK
from brickwork.objectives.contrastive import info_nce
from brickwork.objectives.distillation import Sparse, kl_to
from brickwork.representation.contract import encodes
from brickwork.systems.text2token import drawing
from brickwork.systems.text2token.config import (
    DROPOUT,
    RELATED,
    RELATED_WORDS,
    TEMPERATURE,
    WARM,
    Config,
    stages_of,
)
from brickwork.systems.text2token.data import load_data
from brickwork.systems.text2token.head import WordHead, input_rows, mean_of_pieces, own_rows, pieces_of
from brickwork.systems.text2token.keywords import KeyWords, padded, related
from brickwork.systems.text2token.prompting import Asked
from brickwork.systems.text2token.reading import ReadableRepresentation
from brickwork.training.config import Stage

__all__ = ["Config", "System", "load_data"]
_TARGET_WORDS = 64
_MASKED = 0.15
_ASKED = 64  # training texts whose mean is what a language model says of any text


@encodes
class System(nn.Module):
    """An encoder, a head over key words, and what targets are made from."""

    reads = ("pairs", "triplets", "scored", "labelled", "texts")
    input_kind: Literal["texts", "images", "columns"] = "texts"
    transient = ("asked",)

    def __init__(self, config: Config, encoder: TextEncoder, *, seed: int, key_words: dict[str, Any]):
        super().__init__()
        self.config, self.encoder, self.seed = config, encoder, seed
        self.facts: dict[str, Any] = {"key_words": key_words}
        self.key_words = KeyWords.from_state(key_words)
        self.head: WordHead | None = None
        if config.objective == "words":
            learnt = config.head != "own"
            self.head = WordHead(len(self.key_words), encoder.embedding_dim, learnt=learnt)
        self.near: Any = None  # co-occurrences, while it trains
        self.asked: Asked | None = None

    # ---- building --------------------------------------------------------------------------------------------------

    @classmethod
    def build(cls, config: Config, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The untrained system: key words are counted in the training texts, and in no others.

        Raises:
            DataError: too few texts for key words.
        """
        texts = list(dict.fromkeys(data.texts()))
        words = KeyWords.from_texts(texts, config.words, config.filter)
        described = config.encoder
        if is_gguf(described.backbone):
            encoder = load_published_encoder(described.backbone, described.revision, described.max_tokens)
        else:
            encoder = build_text_encoder(described, iter(texts), assets)
        system = cls(config, encoder, seed=seed, key_words=words.state())
        system._take_rows()
        if config.objective == "words" and config.kind != "data":
            system._find_related(texts)
        return system

    @torch.no_grad()
    def _take_rows(self) -> None:
        """Gives the head what the model knows of words."""
        if self.head is None or self.config.head == "fresh":
            return
        words = self.key_words.words
        if self.config.head == "own":
            rows = own_rows(self.encoder, self.config.encoder)
            self.head.rows.copy_(mean_of_pieces(rows, pieces_of(self.encoder.tokenizer, words)))
        else:
            vectors = self.representation().encode(list(words))
            self.head.rows.copy_(torch.from_numpy(vectors))

    def _find_related(self, texts: Sequence[str]) -> None:
        if self.config.related != "prompt":
            self.near = self.key_words.neighbours(texts)
            return
        rows = own_rows(self.encoder, self.config.encoder)
        self.asked = Asked(copy.deepcopy(self.encoder).eval(), rows, self.key_words.words)
        self.asked.learn_usual(texts[:: max(1, len(texts) // _ASKED)][:_ASKED])

    @staticmethod
    def plan_stages(config: Config, steps: int) -> tuple[Stage, ...]:
        """The stages of a run that names none."""
        return stages_of(config, steps)

    def param_groups(self, learning_rate: float, weight_decay: float) -> Iterator[dict[str, Any]]:
        """Rows that are learnt have a rate of their own, and do not decay: only their direction counts."""
        head = [] if self.head is None else list(self.head.parameters())
        held = {id(p) for p in head}
        others = [p for p in self.parameters() if id(p) not in held]
        yield {"params": [p for p in others if p.ndim >= 2], "weight_decay": weight_decay}
        yield {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0}
        rate = learning_rate * (self.config.head_rate or 1.0)
        yield {"params": head, "weight_decay": 0.0, "lr": rate}

    # ---- learning --------------------------------------------------------------------------------------------------

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Each column of texts as tokens, and the words that each text has to predict: in it, and beyond it."""
        texts = {n: v for n, v in columns.items() if len(v) and isinstance(v[0], str) and n != "domain"}
        limit = self.config.encoder.train_tokens
        batch = self.encoder.collate(texts) if limit is None else self.encoder.collate(texts, limit)
        if self.head is None:
            return batch
        most, beyond = self.config.target_words or _TARGET_WORDS, self.config.related_words or RELATED_WORDS
        for name, column in texts.items():
            present = [self.key_words.present(text, most) for text in column]
            batch |= _named(f"{name}.present", padded(present, most))
            if self.near is not None:
                others = [related(self.near, places, probs, beyond) for places, probs in present]
                batch |= _named(f"{name}.related", padded(others, beyond))
            elif self.asked is not None:
                batch[f"{name}.prompt"] = self.asked.prompts(column)
        return batch

    def loss(self, batch: Batch) -> LossOutput:
        """KL(q ‖ p_θ); of masked tokens in the first stage of an encoder from scratch; InfoNCE of two draws of dropout."""
        columns = [name for name, value in batch.items() if isinstance(value, TokenBatch) and "." not in name]
        stage = batch.get("stage", "")
        if stage == WARM:
            return self._masked(batch, columns)
        if self.head is None:
            return self._dropout(batch, columns)
        vectors = self.encoder.embed(batch, columns)
        logits = {name: self.head(h) for name, h in vectors.items()}
        targets = [self._target(batch, name, stage) for name in columns]
        width = max(one.ids.shape[1] for one in targets)
        ids, probs = (
            torch.cat([F.pad(getattr(one, part), (0, width - one.ids.shape[1])) for one in targets])
            for part in ("ids", "probs")
        )
        if self.config.shuffled:
            ids, probs = ids.roll(1, 0), probs.roll(1, 0)
        every = torch.cat([logits[name] for name in columns])
        there = (probs.sum(1) > 0).sum()
        # A text without key words has no target: it adds nothing, and is not counted.
        kl = kl_to(Sparse(ids, probs), every) * len(every) / there.clamp(min=1)
        best = every.detach().topk(min(10, every.shape[1]), dim=1).indices
        hit = ((best[:, :, None] == ids[:, None]) & (probs[:, None] > 0)).any(2).any(1).sum()
        stats = {
            "hit@10": hit / there.clamp(min=1),
            "without_key_words": 1 - there / len(every),
            "temperature": self.head.temperature().detach(),
        }
        return LossOutput.of({"kl": kl}, stats=stats)

    def _target(self, batch: Batch, name: str, stage: str) -> Sparse:
        """q of one column."""
        present = Sparse(batch[f"{name}.present.ids"], batch[f"{name}.present.probs"])
        wanted = self.config.kind != "data" and (stage == RELATED or not stage)
        if not wanted:
            return present
        if f"{name}.prompt" in batch:
            assert self.asked is not None
            there = torch.zeros(len(present.ids), len(self.key_words), device=present.ids.device)
            there.scatter_add_(1, present.ids, present.probs)
            beyond = self.asked.related(
                batch[f"{name}.prompt"], there > 0, self.config.related_words or RELATED_WORDS
            )
        else:
            beyond = Sparse(batch[f"{name}.related.ids"], batch[f"{name}.related.probs"])
        return mixed(present, beyond, self.config.alpha)

    def _masked(self, batch: Batch, columns: Sequence[str]) -> LossOutput:
        """Cross-entropy of tokens that were masked, by the rows of the input embeddings (BERT, Devlin et al. 2018)."""
        mask = torch.tensor(self.encoder.tokenizer.token_to_id(MASK) or 0)
        total, count = torch.zeros(()), 0
        for name in columns:
            tokens: TokenBatch = batch[name]
            masked = self._drawn(batch, name, tokens)
            hidden_ids = torch.where(masked, mask.to(tokens.ids), tokens.ids)
            seen = TokenBatch(hidden_ids, tokens.lengths, tokens.max_length)
            last = self.encoder.num_layers
            hidden = self.encoder.body(seen, [last])[last][masked]
            logits = hidden.float() @ input_rows(self.encoder).float().T
            total = total + F.cross_entropy(logits, tokens.ids[masked], reduction="sum")
            count = count + int(masked.sum())
        return LossOutput.of({"masked": total / max(count, 1)})

    @torch.compiler.disable  # drawn by NumPy
    def _drawn(self, batch: Batch, name: str, tokens: TokenBatch) -> Tensor:
        """Which tokens are masked: a function of the seed, the step and the row; never the marks at the ends."""
        step = batch["step"] if self.training else "held out"
        drawn = uniforms(f"{self.seed}/{step}/{name}", batch["indices"], tokens.max_length)
        sequence, position = tokens.sequence.cpu().numpy(), tokens.position.cpu().numpy()
        ends = tokens.lengths.cpu().numpy()[sequence] - 1
        masked = (drawn[position, sequence] < _MASKED) & (position > 0) & (position < ends)
        return torch.from_numpy(np.ascontiguousarray(masked)).to(tokens.ids.device)

    def _dropout(self, batch: Batch, columns: Sequence[str]) -> LossOutput:
        """SimCSE (Gao et al. 2021, arXiv 2104.08821, eq. 4): in-batch cross-entropy of two vectors of each text."""
        first, second = (torch.cat([*self.encoder.embed(batch, columns).values()]) for _ in range(2))
        return LossOutput.of({DROPOUT: info_nce(first, second, temperature=TEMPERATURE)})

    # ---- using -----------------------------------------------------------------------------------------------------

    def representation(self) -> ReadableRepresentation:
        """Vectors that can be read as words."""
        return ReadableRepresentation(self)

    def explain(self, text: str, hit: str | None = None, count: int = 10) -> list[WordShare]:
        """The words of a text's vector; with ``hit``, those that connect both: :meth:`ReadableRepresentation.explain`."""
        return self.representation().explain(text, hit, count)

    def predict(self, columns: Mapping[str, Any], *, count: int = 10) -> dict[str, Any]:
        """The ``count`` likeliest words of each text: those in it, and those beyond it, with their shares in %."""
        texts = next(columns[name] for name in ("input", "positive", "anchor") if name in columns)
        words = self.representation().read(list(texts), count)
        return {
            where.replace(" ", "_"): [_listed(one, where) for one in words] for where in ("in text", "beyond")
        }

    def draw(self, examples: Any) -> Sequence[Any]:
        """Texts with the words of their vectors, and what connects a text with its nearest other one."""
        return drawing.drawings(self, examples)


def mixed(present: Sparse, beyond: Sparse, alpha: float) -> Sparse:
    """(1 − α) q^D + α q^M; where a text has only one of both, that one."""
    there = [(one.probs.sum(1, keepdim=True) > 0).to(one.probs) for one in (present, beyond)]
    shares = [(1 - alpha) * there[0], alpha * there[1]]
    whole = (shares[0] + shares[1]).clamp(min=torch.finfo(torch.float32).tiny)
    probs = [share / whole * one.probs for share, one in zip(shares, (present, beyond))]
    return Sparse(torch.cat([present.ids, beyond.ids], 1), torch.cat(probs, 1))


def _named(name: str, target: Sparse) -> dict[str, Tensor]:
    return {f"{name}.ids": target.ids, f"{name}.probs": target.probs}


def _listed(words: Sequence[WordShare], where: str) -> str:
    return ", ".join(f"{one.word} {100 * one.share:.1f}" for one in words if one.where == where)
