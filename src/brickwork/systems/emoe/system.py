"""EMoE: a pretrained transformer is fine-tuned while each token uses only some groups of its feed-forward neurons.

Qiu, Huang, Fu: Unlocking Emergent Modularity in Large Language Models. NAACL 2024, arXiv 2310.10908 (first version:
Emergent Mixture-of-Experts: Can Dense Pre-trained Transformers Benefit from Emergent Modular Structures?). Authors' code:
qiuzh20/EMoE.

What is learnt: a classifier and the weights of the transformer, as in ordinary fine-tuning. The groups are found once, in
the pretrained weights; the gate is the mean of their keys. No parameter is added, and the model can be served whole.

| paper      | here                | shape  | meaning                                                              |
|------------|---------------------|--------|----------------------------------------------------------------------|
| K, V       | half.makers, .down  | (M, D) | keys and values of a layer: FFN(x) = Σ_j φ(k_j·x + b_j) v_j + c      |
|            | labels              | (M)    | the group of each neuron: k-means of k_j/|k_j|, all of one size      |
| N          | groups              |        | E, number of experts; M/E neurons each                               |
| g_e        | group_keys          | (E, D) | mean of the keys of group e, always of the live weights              |
| k          | used                |        | experts of a token: those with the highest g_e·x, each with weight 1 |
| EMoE-learn | CosineGate          | (E)    | weights of a learned gate, soft-max over the k chosen                |

Differences from the paper: see README.md. Shape legend: B inputs, T tokens, M neurons, E groups, D width.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for
from brickwork.core.types import Batch, LossOutput
from brickwork.data.classes import with_classes
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.hub_images import HubImageEncoder
from brickwork.encoders.text import TextEncoder
from brickwork.modules.ffn_split import (
    FeedForward,
    Gate,
    Labels,
    any_of,
    average_gate,
    balanced_groups,
    feed_forwards,
    gated,
    highest,
    lowest,
    random_groups,
)
from brickwork.modules.heads import classifier
from brickwork.objectives.classification import cross_entropy
from brickwork.representation.contract import build_encoder, complete
from brickwork.systems.emoe.config import Config
from brickwork.systems.emoe.data import Data, load_data
from brickwork.systems.emoe.gate import CosineGate
from brickwork.systems.emoe.gathered import gathered
from brickwork.systems.emoe.pruning import shape_as, transformer_of
from brickwork.systems.emoe.serving import ServingPoint, group_counts, group_shares, relative_flops

__all__ = ["Config", "Data", "System", "load_data"]

_CHUNK = 64
LAST = 2
"""Layers that are grouped where none is named."""
_ARMS = {
    "average": "EMoE",
    "learned": "EMoE-learn",
    "lowest": "lowest groups",
    "random": "group dropout",
}


@complete
class System(nn.Module):
    """A transformer whose last feed-forward layers are groups of neurons, and a classifier on its vectors."""

    reads = ("labelled",)

    def __init__(
        self,
        config: Config,
        encoder: TextEncoder | HubImageEncoder,
        *,
        seed: int,
        classes: Sequence[str],
        neurons: Mapping[str, int] | None = None,
    ):
        """``neurons``: those that :func:`~brickwork.systems.emoe.pruning.cut` left of each layer, where it took some."""
        super().__init__()
        self.config, self.encoder, self.seed = config, encoder, seed
        self.classes = tuple(classes)
        self.facts: dict[str, Any] = {"classes": list(classes)}
        if neurons is not None:
            shape_as(transformer_of(encoder), neurons)
            self.facts["neurons"] = dict(neurons)
        self.halves = _grouped_halves(transformer_of(encoder), config)
        for half in self.halves:
            self.register_buffer(_name(half), torch.zeros(half.neurons, dtype=torch.int64))
        width = self.halves[0].makers[0].weight.numel() // self.halves[0].neurons
        learned = self.halves if config.choose == "learned" else ()
        self.gates: Any = nn.ModuleDict(
            {_name(half): CosineGate(width, config.groups, config.active) for half in learned}
        )
        self.head = classifier(encoder.embedding_dim, len(classes))
        self.input_kind: Literal["texts", "images"] = "texts" if encoder.kind == "text" else "images"

    @classmethod
    def build(cls, config: Config, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The system for ``data``, with groups found in the weights that it starts from.

        Raises:
            ConfigError: groups or layers that the encoder does not have.
            DataError: it does not read ``data``.
        """
        classes = list(data.class_names or map(str, range(data.num_classes or 0)))
        system = cls(config, build_encoder(config, data, assets), seed=seed, classes=classes)
        system.find_groups()
        return system

    @staticmethod
    def controls(config: Config) -> dict[str, Config]:
        """Plain fine-tuning; ``config``; the same with groups made by chance, and with groups dropped by chance."""
        plain = replace(config, choose="all", used=None, grouping="clusters")
        masked = config if config.choose != "all" else replace(config, choose="average")
        used = masked.active
        return {
            "plain": plain,
            _ARMS[masked.choose]: replace(masked, grouping="clusters"),
            "random groups": replace(masked, grouping="random"),
            "group dropout": replace(masked, grouping="clusters", choose="random", used=used),
        }

    @staticmethod
    def compared(scores: Mapping[str, float]) -> dict[str, float]:
        """Accuracy as it was trained."""
        return {"points of accuracy": 100 * scores["accuracy"]}

    def find_groups(self) -> None:
        """Clusters the keys as they are now; or draws the groups."""
        config = self.config
        for half in self.halves:
            try:
                own = (
                    balanced_groups(half.keys().detach(), config.groups, self.seed)
                    if config.grouping == "clusters"
                    else random_groups(half.neurons, config.groups, self.seed + half.layer)
                )
            except ConfigError as error:
                raise ConfigError(f"model.groups={config.groups}: {half.name}: {error}") from error
            getattr(self, _name(half)).copy_(own)

    @property
    def labels(self) -> Labels:
        """The group of each neuron of each grouped layer."""
        return {half: getattr(self, _name(half)) for half in self.halves}

    def gates_of(self, used: int | None = None, step: int | None = None) -> dict[FeedForward, Gate]:
        """What says which groups a token uses: ``used`` of them (None = k). ``step``: of a training, which draws.

        Groups drawn by chance weigh E/k, as what dropout leaves does, so that the mean is that of the whole model.
        """
        count = self.config.active if used is None else used
        gates: dict[FeedForward, Gate] = {}
        for half, own in self.labels.items():
            if self.config.choose == "learned":
                gates[half] = partial(self.gates[_name(half)], used=count)
            elif self.config.choose == "random" and step is not None:
                draw = any_of(count, generator_for(self.seed, step, half.name))
                gates[half] = _scaled(average_gate(half, own, draw), self.config.groups / count)
            else:
                choose = lowest(count) if self.config.choose == "lowest" else highest(count)
                gates[half] = average_gate(half, own, choose)
        return gates

    @contextmanager
    def training_groups(self, step: int) -> Iterator[None]:
        """As the model trains in ``step``: y = Σ_{e of the k} Σ_{j in e} φ(k_j·x + b_j) v_j + c (section 3.2)."""
        if self.config.choose == "all" or not self.training:
            with self.used_groups():
                yield
            return
        with gated(self.labels, self.gates_of(step=step)):
            yield

    @contextmanager
    def used_groups(self, used: int | None = None) -> Iterator[dict[str, Tensor]]:
        """Served with ``used`` groups (None: as it was trained; of structured dropout all). Yields the weights of each."""
        count = self.served if used is None else used
        if count == self.config.groups and self.config.choose != "learned":
            yield {}  # the dense model
            return
        with gated(self.labels, self.gates_of(count)) as weights:
            yield weights

    @property
    def served(self) -> int:
        """The groups that the model is served with where nothing else is asked for."""
        return self.config.groups if self.config.choose == "random" else self.config.active

    def start_stage(self, stage: str) -> None:
        """After a stage ``backbone``: groups of what it has learnt, and a fresh classifier."""
        if stage != "backbone":
            self.find_groups()
            fresh = classifier(self.encoder.embedding_dim, len(self.classes))
            self.head.load_state_dict(fresh.state_dict())

    def after_step(self, step: int) -> None:
        """Holds the scale of learned gates within its bound."""
        for gate in self.gates.values():
            gate.cap()

    @torch.compiler.disable  # a compiler does not see that groups are left out, and would compute the whole model
    def logits(self, inputs: Any) -> Float[Tensor, "batch classes"]:
        """W·f(x) + c, with the groups that are used now."""
        last = self.encoder.num_layers
        return self.head(self.encoder(inputs, [last])[last])

    def loss(self, batch: Batch) -> LossOutput:
        """Cross-entropy, each token with its k groups; in the stage ``backbone`` with all."""
        if batch.get("stage") == "backbone":
            return LossOutput.of({"backbone": cross_entropy(self.logits(batch["input"]), batch["label"])})
        with self.training_groups(batch["step"]):
            return LossOutput.of(
                {"classification": cross_entropy(self.logits(batch["input"]), batch["label"])}
            )

    @torch.no_grad()
    def probabilities(self, inputs: Any, groups: Any = None) -> Float[np.ndarray, "rows classes"]:
        """Of each class for texts or images (N, H, W, C), with ``groups`` groups used (None: as it was trained; ``all``: the
        dense model, unless a learned gate weighs its groups).

        Raises:
            ConfigError: fewer than one group, more than there are, or a part of one.
        """
        count = self._count(groups)
        parts = [np.zeros((0, len(self.classes)), dtype=np.float32)]
        device = next(self.parameters()).device
        with self._serving(count):
            for start in range(0, len(inputs), _CHUNK):
                x = self.encoder.collate({"input": inputs[start : start + _CHUNK]})["input"].to(device)
                parts.append(self.logits(x).softmax(-1).float().cpu().numpy())
        return np.concatenate(parts)

    def _count(self, groups: Any) -> int:
        """The number of groups that a user asked for; ``all`` is every one."""
        most = self.config.groups
        count = self.served if groups is None else most if groups == "all" else groups
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
            what = "a token uses a whole number of groups; " if isinstance(groups, float) else ""
            raise ConfigError(
                f"groups={groups}: {what}this model can use 1 to {most} groups, or all of them (groups=all)"
            )
        return count

    @contextmanager
    def _serving(self, count: int) -> Iterator[None]:
        """``count`` groups, in the faster way: to a quarter of them are gathered, more are masked (benchmarks/emoe.py)."""
        if 4 * count <= self.config.groups:
            with gathered(self.labels, self.gates_of(count)):
                yield
        else:
            with self.used_groups(count):
                yield

    def predict(self, columns: Mapping[str, Any], groups: Any = None) -> dict[str, Any]:
        """``label`` and its ``probability`` for each row of the column ``input``, with ``groups`` groups used."""
        p = self.probabilities(columns["input"], groups)
        return {"label": [self.classes[i] for i in p.argmax(1)], "probability": p.max(1, initial=0.0)}

    def load_data(self, config: Data, seed: int) -> TaskData:
        """Other data with the classes that were learnt.

        Raises:
            DataError: it has another class.
        """
        return with_classes(load_data(config, seed), self.classes)

    def accuracy(self, examples: Examples, groups: int | None = None) -> float:
        """Share of right answers with ``groups`` groups used."""
        right = self.probabilities(examples.columns["input"], groups).argmax(1) == np.asarray(
            examples.columns["label"]
        )
        return float(right.mean()) if len(right) else 0.0

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Accuracy as it was trained, and with shares of the groups."""
        counts = group_counts(self.config.groups, self.served)
        at = {count: self.accuracy(examples, count) for count in counts}
        return {
            "accuracy": at[self.served],
            **{f"accuracy_groups_{count}": value for count, value in at.items()},
        }

    def serving_curve(self, examples: Examples) -> list[ServingPoint]:
        """Accuracy and share of the FLOPs with an eighth, a quarter, half and all of the groups."""
        counts = group_counts(self.config.groups, self.served)
        return [
            ServingPoint(
                groups=count,
                accuracy=self.accuracy(examples, count),
                flops=relative_flops(self, examples, count),
                examples=len(examples),
            )
            for count in counts
        ]

    def group_use(self, examples: Examples) -> dict[str, Float[np.ndarray, "rows groups"]]:
        """For each grouped layer the share of its tokens for which each input uses each group; rows sum to 1."""
        return group_shares(self, examples)

    def analyse(self, examples: Examples) -> dict[str, dict[str, Any]]:
        """``serving``: accuracy and FLOPs by groups used; ``use``: how much each domain uses each group of each layer."""
        from brickwork.systems.emoe.serving import domains_of

        points = self.serving_curve(examples)
        serving = {name: [getattr(p, name) for p in points] for name in ("groups", "accuracy", "flops")}
        use: dict[str, list[Any]] = {"layer": [], "group": [], "domain": [], "share": []}
        domains = np.asarray(domains_of(self, examples))
        for name, shares in self.group_use(examples).items():
            for domain in sorted(set(domains.tolist())):
                for group, share in enumerate(shares[domains == domain].mean(0)):
                    use["layer"].append(name)
                    use["group"].append(group)
                    use["domain"].append(domain)
                    use["share"].append(float(share))
        return {"serving": serving, "use": use}

    def draw(self, examples: Examples) -> list[Any]:
        """Quality against FLOPs, and groups by domains."""
        from brickwork.systems.emoe.drawing import serving_drawing, use_drawing
        from brickwork.systems.emoe.serving import domains_of

        drawings = [serving_drawing(self.serving_curve(examples), self.served)]
        domains = domains_of(self, examples)
        for name, shares in self.group_use(examples).items():
            drawings.append(use_drawing(name, shares, domains, seed=self.seed))
        return drawings

    def export_dense(self, folder: Path | str) -> Path:
        """The model as transformers itself loads it, of the architecture and size that it came in, with its classifier.

        Raises:
            ConfigError: the gate weighs groups, which a dense model cannot; groups are gone; or ``folder`` is not empty.
        """
        from brickwork.representation.export_classifier import export_classifier

        if "neurons" in self.facts:
            raise ConfigError(
                "groups were cut from some layers, and transformers knows no model whose layers have different widths; "
                "export the run that this model was cut from"
            )
        if self.config.choose == "learned":
            raise ConfigError(
                "choose='learned' weighs groups by its gate, which no dense model does; only gates without weights can be "
                "left out (average, random, lowest, all)"
            )
        base = str(getattr(self.config.encoder, "backbone", ""))
        return export_classifier(self.encoder, self.head, self.classes, folder, base=base)


def _name(half: FeedForward) -> str:
    return f"labels_{half.layer}"


def _scaled(gate: Gate, factor: float) -> Gate:
    return lambda x: gate(x) * factor


def _grouped_halves(transformer: nn.Module, config: Config) -> tuple[FeedForward, ...]:
    """The feed-forward halves that are grouped.

    Raises:
        ConfigError: the encoder has none, or not those that were named.
    """
    known = {half.layer: half for half in feed_forwards(transformer).values()}
    wanted = config.layers or sorted(known)[-LAST:]
    if strange := [layer for layer in wanted if layer not in known]:
        raise ConfigError(
            f"model.layers names layer {strange[0]}; the layers that can be grouped are {', '.join(map(str, sorted(known)))}"
        )
    return tuple(known[layer] for layer in sorted(wanted))
