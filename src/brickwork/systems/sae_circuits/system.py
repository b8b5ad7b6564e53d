"""SAE circuits: which attention heads of a language model a behaviour needs.

O'Neill, Bui: Sparse Autoencoders Enable Scalable and Reliable Circuit Identification in Language Models. arXiv 2405.12522,
2024. Authors' code: charlieoneill11/sae-circuits.

What is learnt: for each head of a finished model, from prompts in which a behaviour occurs and prompts in which it does not,
how much the model needs it (ablation), whether it needs it more for the behaviour than without (p, from shuffled labels),
and the paper's score, from codes of a sparse autoencoder on what heads add to the residual stream.

| paper | here                 | shape     | meaning                                                             |
|-------|----------------------|-----------|---------------------------------------------------------------------|
| r     | Recorder             | (E, N, D) | what a head adds, mean over tokens (or the last)                    |
| a     | SparseAutoencoder    | (m)       | a = relu(W_e (r − b) + b_e);  r̂ = W_d a + b                         |
| λ     | l1                   |           | L = mean((r̂ − r)²) + λ·mean(‖a‖₁)                                   |
| c     | codes                | (E, N)    | argmax_k a_k; −1 where no latent is active                          |
| u     | published            | (L, H)    | codes of a head with the behaviour and never without: |P \\ N|       |
|       | damage               | (E, L, H) | KL(model ‖ model without the head) at the next token                |
|       | effect               | (L, H)    | mean drop of log p(answer) − log p(wrong); without answers of −KL   |
|       | p, q                 | (L, H)    | drop (if all have answers; else damage) with − without, shuffled; BH |
|       | Ablations.kept       |           | faithfulness (m_k − m_0) / (m − m_0) of the best k heads            |

Differences from the paper: see README.md. Shape legend: E prompts, L layers, H heads, N = L·H, D width, s head dimensions.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ArtifactError
from brickwork.core.seeding import generator_for
from brickwork.data.types import Examples, TaskData
from brickwork.evaluation.permutation import benjamini_hochberg, permutation_p
from brickwork.modules.model_hash import differences
from brickwork.modules.recorder import Recorder
from brickwork.representation.contract import complete
from brickwork.systems.sae_circuits.codes import (
    SparseAutoencoder,
    code_p,
    code_scores,
    edge_scores,
    fit,
    mean_difference,
)
from brickwork.systems.sae_circuits.config import Config
from brickwork.systems.sae_circuits.data import Data, load_data
from brickwork.systems.sae_circuits.effects import (
    Ablations,
    Head,
    heads_name,
    means_without,
    right,
    some_counts,
)
from brickwork.systems.sae_circuits.keeping import kept_heads
from brickwork.systems.sae_circuits.pruned import PrunedModel, prune_subject
from brickwork.systems.sae_circuits.subjects import (
    Prompts,
    Subject,
    load_subject,
    next_token,
    padded,
    read_prompts,
)

__all__ = ["Config", "Data", "System", "load_data"]

SCORES = ("effect", "p", "q", "published", "p_published", "edges", "jaccard", "mean_difference")
MOST_CODE_SHUFFLES = 2000
ROUNDING = 1e-6
"""What a head that nothing depends on may move a log-probability by."""
RANKINGS = ("effect", "published", "mean_difference", "random")


@complete
class System(nn.Module):
    """What was found out about each head. The model itself is not in it: it is read again where it is needed.

    ``shape``: layers, heads, dimensions of a head, width. ``prompts``: their number. ``subject``: fingerprint of the model.
    """

    reads = ("prompts",)
    damage: Tensor
    drop: Tensor
    means: Tensor
    codes: Tensor
    effect: Tensor
    p: Tensor
    q: Tensor
    published: Tensor
    p_published: Tensor
    edges: Tensor
    jaccard: Tensor
    mean_difference: Tensor

    def __init__(self, config: Config, *, seed: int, shape: list[int], prompts: int, subject: str):
        super().__init__()
        self.config, self.seed, self.fingerprint = config, seed, subject
        layers, heads, size, _ = self.shape = tuple(shape)
        self._held: Subject | None = None
        self.facts: dict[str, Any] = {}
        for name in ("damage", "drop"):
            self.register_buffer(name, torch.zeros(prompts, layers, heads))
        self.register_buffer("codes", torch.zeros(prompts, layers, heads, dtype=torch.int64))
        for name in SCORES:
            self.register_buffer(name, torch.zeros(layers, heads))
        self.register_buffer("means", torch.zeros(layers, heads, size))

    @classmethod
    def build(cls, config: Config, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The system for a model and for prompts that it can read.

        Raises:
            ArtifactError: the model is missing, damaged or no language model.
            DataError: a prompt that it cannot read.
        """
        return cls.looking_into(load_subject(config.subject, config.distractor), config, data, seed)

    @classmethod
    def looking_into(cls, subject: Subject, config: Config, data: TaskData, seed: int) -> "System":
        """The system for a model that is at hand. Raises DataError as :meth:`build`."""
        for part in (data.train, data.validation, data.test):  # said now, not when it is measured
            prompts = read_prompts(subject, part.columns)
            if config.ablation == "resample":
                prompts.partners()
        facts: dict[str, Any] = {
            "shape": list(subject.shape),
            "prompts": len(data.train),
            "subject": subject.fingerprint(),
        }
        system = cls(config, seed=seed, **facts)
        system._held, system.facts = subject, {**facts, "seed": seed}
        return system

    @classmethod
    def restore(cls, architecture: dict[str, Any], tokenizer_json: str | None) -> "System | PrunedModel":
        """A run, or a model that was pruned with one."""
        if "pruned" in architecture:
            return PrunedModel.restore(architecture, tokenizer_json or "")
        facts = dict(architecture["facts"])
        system = cls(from_dict(Config, architecture["config"]), **facts)
        system.facts = facts
        return system

    def architecture(self) -> dict[str, Any]:
        return {"config": to_dict(self.config), "facts": self.facts}

    @property
    def subject(self) -> Subject:
        """The model that was looked into, read when it is first needed.

        Raises:
            ArtifactError: it is not there any more, or is another one now.
        """
        if self._held is None:
            held = load_subject(self.config.subject, self.config.distractor)
            if differ := differences(held.fingerprint(), self.fingerprint):
                raise ArtifactError(
                    f"{self.config.subject} is not the model that was looked into: it differs in {differ}; run it anew"
                )
            self._held = held
        return self._held

    def foretell(self, examples: Examples) -> str:
        """How long the heads take here, from one batch of prompts."""
        prompts, batch = read_prompts(self.subject, examples.columns), self.config.batch
        layers, heads, _, _ = self.shape
        rows = sorted(range(len(prompts)), key=lambda row: len(prompts.ids[row]))
        middle = rows[len(rows) // 2 :][:batch] or rows  # of the usual length
        next_token(self.subject.model, [prompts.ids[middle[0]]])  # the first pass of all is slower
        began = time.perf_counter()
        next_token(self.subject.model, [prompts.ids[row] for row in middle])
        seconds = time.perf_counter() - began
        batches = -(-len(prompts) // batch)
        passes = -(-int((~prompts.behaves).sum()) // batch) + batches
        passes += layers * batches * (1 + heads + (self.config.ablation == "resample"))
        return (
            f"{layers * heads} heads on {len(prompts):,} prompts are about {passes:,} passes of {min(batch, len(prompts))} "
            f"prompts, of {seconds:.2g} s here: about {passes * seconds / 60:.1f} minutes, and the autoencoder"
        )

    def fit(self, examples: Examples, *, start: int) -> Iterator[float]:
        """Codes, then a layer of ablations in each round, then p-values."""
        prompts = read_prompts(self.subject, examples.columns)
        layers, heads, _, _ = self.shape
        for number in range(start, layers + 2):
            if number == 0:
                self._average(prompts)
                self._encode(prompts)
            elif number <= layers:
                damage, drop = self._ablations(prompts).layer(number - 1, heads)
                self.damage[:, number - 1] = torch.from_numpy(damage)
                self.drop[:, number - 1] = torch.from_numpy(drop)
            else:
                self._judge(prompts)
            yield (number + 1) / (layers + 2)

    def _ablations(self, prompts: Prompts) -> Ablations:
        means = {heads_name(layer): self.means[layer] for layer in range(self.shape[0])}
        return Ablations(self.subject.model, prompts, self.config.ablation, means, self.config.batch)

    @torch.no_grad()
    def _average(self, prompts: Prompts) -> None:
        """What heads give without the behaviour."""
        for layer, means in enumerate(means_without(self.subject.model, prompts, self.config.batch).values()):
            self.means[layer] = means

    @torch.no_grad()
    def _encode(self, prompts: Prompts) -> None:
        """Codes and the scores that follow from them; mean differences."""
        config, (layers, _, _, width) = self.config, self.shape
        with Recorder(self.subject.model, "heads", positions=config.positions) as record:
            for start in range(0, len(prompts), config.batch):
                self.subject.model(*padded(prompts.ids[start : start + config.batch]))
        generator = generator_for(self.seed, 0, "autoencoder")
        autoencoder = SparseAutoencoder(width, config.latents, config.norm, generator)
        chosen = torch.randperm(len(prompts), generator=generator)[: config.code_prompts]
        vectors = torch.stack([record[heads_name(layer)][chosen] for layer in range(layers)])
        fit(autoencoder, vectors.flatten(0, -2), l1=config.l1, steps=config.code_steps, rate=config.code_rate)
        for layer in range(layers):
            own = record[heads_name(layer)]
            self.codes[:, layer] = autoencoder.codes(own)
            for name, values in code_scores(self.codes[:, layer].numpy(), prompts.behaves).items():
                getattr(self, name)[layer] = torch.from_numpy(values)
            self.mean_difference[layer] = torch.from_numpy(mean_difference(own.numpy(), prompts.behaves))

        edges = edge_scores(self.codes.flatten(1).numpy(), prompts.behaves)
        self.edges.copy_(torch.from_numpy(edges).view(layers, -1))

    def _judge(self, prompts: Prompts) -> None:
        """Effects and p-values from the ablations, and a p-value for the published score."""
        layers, heads, _, _ = self.shape
        tested = (self.drop if prompts.all_answered else self.damage).flatten(1).double().numpy()
        p = permutation_p(
            np.where(np.abs(tested) < ROUNDING, 0.0, tested),
            prompts.behaves,
            prompts.groups.tolist(),
            permutations=self.config.permutations,
            seed=self.seed,
        )
        what = self.drop if prompts.answered else self.damage
        self.effect.copy_(what[torch.from_numpy(prompts.behaves)].mean(0))
        self.p.copy_(torch.from_numpy(p).view(layers, heads))
        codes = self.codes.flatten(1).numpy()
        shuffles = min(self.config.permutations, MOST_CODE_SHUFFLES)
        of_codes = code_p(codes, prompts.behaves, permutations=shuffles, seed=self.seed)
        self.p_published.copy_(torch.from_numpy(of_codes).view(layers, heads))
        self.q.copy_(torch.from_numpy(benjamini_hochberg(p)).view(layers, heads))

    def ranking(self, by: str) -> list[Head]:
        """All heads, first the one that counts most: ``effect``, ``published``, ``mean_difference`` or ``random``."""
        layers, heads, _, _ = self.shape
        places = [(layer, head) for layer in range(layers) for head in range(heads)]
        if by == "random":
            order = torch.randperm(len(places), generator=generator_for(self.seed, 0, "ranking")).tolist()
        else:
            # Of heads with one score none is preferred.
            mixed = torch.randperm(len(places), generator=generator_for(self.seed, 0, "ties"))
            order = mixed[(-getattr(self, by)).flatten()[mixed].argsort(stable=True)].tolist()
        return [places[number] for number in order]

    def faithfulness(self, examples: Examples, by: str) -> dict[int, float]:
        """How much of the behaviour in ``examples`` is kept with the best k heads alone, for several k."""
        prompts = read_prompts(self.subject, examples.columns)
        counts = some_counts(self.shape[0] * self.shape[1])
        kept = self._ablations(prompts).kept(self.ranking(by), counts)
        return {count: float(value) for count, value in zip(counts, kept)}

    def sizes(self, examples: Examples, by: str = "effect") -> dict[str, list[Any]]:
        """Size against quality: of the model pruned to the best k heads, for several k and for all, its parameters, how
        much of the behaviour it keeps in ``examples``, and in what share of them it is right.

        Raises:
            ConfigError: heads were ablated with values of other prompts, so that nothing can be pruned.
        """
        prompts, ranking = read_prompts(self.subject, examples.columns), self.ranking(by)
        counts = [*some_counts(len(ranking)), len(ranking)]
        table: dict[str, list[Any]] = {"heads": counts, "parameters": [], "right": []}
        for count in counts:
            pruned = prune_subject(
                self.subject, ranking[:count], self.means, self.config.ablation, why=f"top {count}"
            )
            table["parameters"].append(sum(p.numel() for p in pruned.parameters()))
            table["right"].append(right(pruned.model, prompts, self.config.batch))
        kept = self._ablations(prompts).kept(ranking, counts)
        return {**table, "faithfulness": [float(value) for value in kept]}

    def right(self, examples: Examples) -> float:
        """Share of the prompts with the behaviour in which the whole model shows it; NaN without answers."""
        prompts = read_prompts(self.subject, examples.columns)
        return right(self.subject.model, prompts, self.config.batch)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Heads that matter (q < .05), in how many prompts the model is right, and faithfulness with some of its heads."""
        scores = {"heads_q_05": float((self.q < 0.05).sum())}
        if not np.asarray(examples.columns["behaves"]).any():
            return scores
        if np.isfinite(share := self.right(examples)):
            scores["prompts_right"] = share
        for by in ("effect", "random"):
            for count, value in self.faithfulness(examples, by).items():
                if np.isfinite(value):
                    scores[f"faithfulness_{by}_{count}"] = value
        return scores

    def analyse(self, examples: Examples) -> dict[str, dict[str, Any]]:
        """``heads``: every score of every head; on ``examples`` ``faithfulness``, by each ranking, and :meth:`sizes`."""
        layers, heads, _, _ = self.shape
        table: dict[str, Any] = {
            "layer": np.repeat(np.arange(layers), heads).tolist(),
            "head": np.tile(np.arange(heads), layers).tolist(),
        }
        table |= {name: getattr(self, name).flatten().tolist() for name in SCORES}
        curve: dict[str, list[Any]] = {"ranking": [], "heads": [], "faithfulness": []}
        tables = {"heads": table, "faithfulness": curve}
        if np.asarray(examples.columns["behaves"]).any():
            for by in RANKINGS:
                for count, value in self.faithfulness(examples, by).items():
                    curve["ranking"].append(by)
                    curve["heads"].append(count)
                    curve["faithfulness"].append(value)
            if self.config.ablation != "resample":
                tables["sizes"] = self.sizes(examples)
        return tables

    def draw(self, examples: Examples) -> list[Any]:
        """The heads as a map, and faithfulness against heads kept, on ``examples``."""
        from brickwork.systems.sae_circuits.drawing import curve_drawing, head_map

        scores = {name: getattr(self, name).numpy() for name in SCORES}
        behaving = int(np.asarray(examples.columns["behaves"]).sum())
        drawings = [
            head_map(scores, unit="log-probability of the answer" if self._answered else "KL, in nats")
        ]
        if behaving:
            curves = {by: self.faithfulness(examples, by) for by in RANKINGS}
            drawings.append(
                curve_drawing(curves, self.shape[0] * self.shape[1], behaving, self.right(examples))
            )
        return drawings

    @property
    def _answered(self) -> bool:
        return not bool(self.drop.isnan().all())

    def prune(self, keep: str = "q<0.05") -> PrunedModel:
        """The model with only the heads that ``keep`` names (``p<0.01``, ``effect>0.1``, ``top 20``); the others give their
        mean over the prompts without the behaviour (with ``ablation="zero"``: nothing), and are not there any more.

        Raises:
            ConfigError: a condition that is none, or that no head fulfils.
        """
        kept = kept_heads({name: getattr(self, name) for name in SCORES}, keep)
        return prune_subject(self.subject, kept, self.means, self.config.ablation, why=keep)
