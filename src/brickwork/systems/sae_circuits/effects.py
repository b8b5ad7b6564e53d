"""What heads do for a behaviour: one ablated at a time, and all but the best.

Shape legend: E prompts, L layers, H heads of a layer, s dimensions of a head.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.modules.ablation import ablate
from brickwork.modules.recorder import Recorder, overall_means
from brickwork.systems.sae_circuits.config import Ablation
from brickwork.systems.sae_circuits.subjects import NO_TOKEN, Prompts, next_token, padded

Head = tuple[int, int]
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75)


def heads_name(layer: int) -> str:
    return f"layers.{layer}.heads"


def some_counts(total: int) -> list[int]:
    """How many of ``total`` heads are kept where faithfulness is measured."""
    return sorted({max(1, round(share * total)) for share in SHARES})


def means_without(model: Any, prompts: Prompts, batch: int) -> dict[str, Float[Tensor, "_ _"]]:
    """What each head gives on average over the tokens of the prompts without the behaviour."""
    rows = [ids for ids, behaves in zip(prompts.ids, prompts.behaves) if not behaves]
    batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    return overall_means(model, "heads", batches, lambda some: model(*padded(some)))


def score(
    log_p: Float[Tensor, "batch vocabulary"], prompts: Prompts, rows: Sequence[int]
) -> Float[Tensor, " batch"]:
    """log p(answer), less log p(wrong) where there is one; NaN without an answer."""
    answer, wrong = (torch.from_numpy(ids[list(rows)]) for ids in (prompts.answer, prompts.wrong))
    of_answer = log_p.gather(1, answer.clamp(min=0)[:, None])[:, 0]
    of_wrong = log_p.gather(1, wrong.clamp(min=0)[:, None])[:, 0]
    value = of_answer - torch.where(wrong == NO_TOKEN, 0.0, of_wrong)
    return torch.where(answer == NO_TOKEN, torch.nan, value)


def right(model: Any, prompts: Prompts, batch: int) -> float:
    """In how many of the prompts with the behaviour the model does what it is looked into for: the answer is likelier than
    what is wrong, or, where that is not said, than any other token. NaN without answers."""
    rows = [int(row) for row in np.flatnonzero(prompts.behaves) if prompts.answer[row] != NO_TOKEN]
    hits = 0
    for start in range(0, len(rows), batch):
        own = rows[start : start + batch]
        log_p = next_token(model, [prompts.ids[row] for row in own])
        best = log_p.argmax(1).numpy() == prompts.answer[own]
        likelier = score(log_p, prompts, own).numpy() > 0
        hits += int(np.where(prompts.wrong[own] == NO_TOKEN, best, likelier).sum())
    return hits / len(rows) if rows else float("nan")


class Ablations:
    """Passes of a model over prompts with heads ablated in one of three ways."""

    def __init__(
        self, model: Any, prompts: Prompts, ablation: Ablation, means: dict[str, Tensor], batch: int
    ):
        self.model, self.prompts, self.ablation, self.means = model, prompts, ablation, means
        self.partners = prompts.partners() if ablation == "resample" else []
        rows = list(range(len(prompts)))
        self.batches = [rows[start : start + batch] for start in range(0, len(rows), batch)]

    def batches_with_donors(self, layers: Sequence[int]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """Rows, and what the heads of ``layers`` give in their partners, where that is what replaces them."""
        for rows in self.batches:
            if self.ablation != "resample":
                yield rows, {}
                continue
            with torch.no_grad(), Recorder(self.model, [heads_name(layer) for layer in layers]) as record:
                self.model(*padded([self.prompts.ids[self.partners[row]] for row in rows]))
            yield rows, {name: record.inputs(name) for name in record.names()}

    def without(
        self, rows: Sequence[int], heads: Sequence[Head], donors: dict[str, Tensor]
    ) -> Float[Tensor, "batch vocabulary"]:
        """Log-probabilities of the next token with ``heads`` ablated."""
        changes: dict[str, Any] = {}
        for layer in sorted({layer for layer, _ in heads}):
            own, name = tuple(head for at, head in heads if at == layer), heads_name(layer)
            value: Any = self.ablation
            if self.ablation == "resample":
                longest = max(len(self.prompts.ids[row]) for row in rows)
                value = donors[name][:, :longest, list(own)]
            changes[name] = {own: value}
        with ablate(self.model, changes, means=self.means):
            return next_token(self.model, [self.prompts.ids[row] for row in rows])

    def layer(self, layer: int, heads: int) -> tuple[Float[np.ndarray, "_ _"], Float[np.ndarray, "_ _"]]:
        """Of each prompt (E) and head (H): KL from the whole model to the ablated one at the next token, and how far
        :func:`score` drops."""
        damage, drop = np.empty((2, len(self.prompts), heads))
        for rows, donors in self.batches_with_donors([layer]):
            whole = next_token(self.model, [self.prompts.ids[row] for row in rows])
            before = score(whole, self.prompts, rows)
            for head in range(heads):
                after = self.without(rows, [(layer, head)], donors)
                damage[rows, head] = kl(whole, after).numpy()
                drop[rows, head] = (before - score(after, self.prompts, rows)).numpy()
        return damage, drop

    def kept(self, ranking: Sequence[Head], counts: Sequence[int]) -> Float[np.ndarray, " counts"]:
        """Faithfulness with only the first k heads of ``ranking``, all others ablated, for each k of ``counts``.

        (m_k − m_0) / (m − m_0), where m is the mean of :func:`score` over the prompts with the behaviour, m_0 that with
        every head ablated; without answers, of −KL from the whole model.
        """
        layers = sorted({layer for layer, _ in ranking})
        wanted = [*counts, 0, len(ranking)]
        totals = np.zeros(len(wanted))
        for rows, donors in self.batches_with_donors(layers):
            chosen = [place for place, row in enumerate(rows) if self.prompts.behaves[row]]
            if not chosen:
                continue
            own = [rows[place] for place in chosen]
            values = {name: x[chosen] for name, x in donors.items()}
            whole = next_token(self.model, [self.prompts.ids[row] for row in own])
            for place, count in enumerate(wanted):
                out = self.without(own, ranking[count:], values) if count < len(ranking) else whole
                value = score(out, self.prompts, own) if self.prompts.answered else -kl(whole, out)
                totals[place] += float(value.double().sum())
        *kept, none, every = totals
        return (np.array(kept) - none) / (every - none) if every != none else np.full(len(counts), np.nan)


def kl(p: Float[Tensor, "batch vocabulary"], q: Float[Tensor, "batch vocabulary"]) -> Float[Tensor, " batch"]:
    """Σ p (log p − log q) of log-probabilities."""
    return (p.exp() * (p - q)).sum(-1).clamp(min=0)
