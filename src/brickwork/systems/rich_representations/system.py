"""Rich representations: the features of several trainings, joined for tasks that none of them was for.

Zhang, Bottou: Learning useful representations for shifting tasks and distributions. ICML 2023, arXiv 2212.07346. Authors'
code: TjuJianyu/RRL (linear probes and fine-tuning; distillation, few-shot and shifted tasks are not in it).

What is learnt: n networks on the same data that differ by their seeds. A training keeps the features that lower its cost and
has no reason for others that would do as well; another seed keeps others. Side by side they hardly answer the same task
better, and a new one much better: its best linear head on all of them is at least as good as on any one.

| paper       | here                | shape      | meaning                                                           |
|-------------|---------------------|------------|-------------------------------------------------------------------|
| φ_i         | encoder.members[i]  | → (B, P_i) | the network of episode i, up to its vector                        |
| ω_i         | heads[i]            | → (B, C)   | its linear head; trained with it                                  |
| Cat_n       | encoder             | → (B, D)   | [φ_1(x); …; φ_n(x)], D = Σ P_i: what users get                    |
| cat^sub     | averaged_heads      | → (B, C)   | mean of the logits: W = [W_1 … W_n]/n, b = Σ b_i/n                |
| [2ft]       | stages              |            | each φ_i, ω_i apart; then one head on all, from the averaged ones |
| [init]      | learn="jointly"     |            | all at once under one head                                        |
| φ_s, ω̂_i   | encoder, student_heads |         | distilled: one network with a head for each teacher               |
| τ           | tau                 |            | temperature of distillation                                       |

Flow: data.py → members.py: encoders.joined → objectives.classification, objectives.distillation → training.stages →
modules.merging (heads) → representation.model.

Differences from the paper: see README.md. Shape legend: B inputs, P dimensions of a member, D of all, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import to_dict
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ConfigError, warn
from brickwork.core.seeding import generator_for, seed_everything
from brickwork.core.types import Batch, LossOutput
from brickwork.data.classes import with_classes
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.joined import Joined
from brickwork.modules.heads import classifier
from brickwork.modules.merging import MergeConfig, merge
from brickwork.objectives.classification import cross_entropy
from brickwork.objectives.distillation import kl_to, soft_labels
from brickwork.representation.contract import encodes
from brickwork.systems.rich_representations.config import Config, stages_of
from brickwork.systems.rich_representations.data import Data, load_data, split_new
from brickwork.systems.rich_representations.members import (
    as_joined,
    check_count,
    fresh_members,
    members_of_runs,
    published,
    student,
)
from brickwork.training.config import Stage

__all__ = ["Config", "Data", "System", "load_data"]

_CHUNK = 256
_WEIGHED = 512  # inputs by which the lengths of blocks are compared


@encodes
class System(nn.Module):
    """n encoders side by side with a head each and one on all of them; or, distilled, the student of these.

    ``teacher``: the members, where a student is what users get. A distilled system that was saved has none.
    """

    reads = ("labelled",)

    def __init__(
        self,
        config: Config,
        encoder: Any,
        *,
        seed: int,
        classes: Sequence[str],
        teacher: Joined | None = None,
        heads: int = 0,
    ):
        super().__init__()
        self.config, self.encoder, self.seed = config, encoder, seed
        self.classes = tuple(classes)
        self.lineage: dict[str, Any] = {}
        self.kept_scales = 0  # of so many of the first blocks, which are those of a finished encoder
        self.transient = ("teacher", "heads") if config.distil else ()
        self.teacher = teacher
        members: Any = [] if config.distil and teacher is None else (teacher or encoder).members
        self.num_heads = len(members) or heads
        apart = config.mode != "jointly"
        self.heads: Any = nn.ModuleList(
            _drawn_head(member.embedding_dim, len(classes), seed, place)
            for place, member in enumerate(members)
            if apart
        )
        if config.distil:
            self.student_heads: Any = nn.ModuleList(
                classifier(encoder.embedding_dim, len(classes)) for _ in range(self.num_heads)
            )
        elif config.share or not apart:
            self.head = classifier(encoder.embedding_dim, len(classes))
        if config.mode == "heads":
            (teacher or encoder).requires_grad_(False)
        self.stage = ""  # the one that is trained, in a training with stages
        dims = encoder.dims if isinstance(encoder, Joined) else (encoder.embedding_dim,)
        self.axes = ElasticAxes(dims=dims, layers=(encoder.num_layers,))
        self.input_kind: Literal["texts", "images"] = "texts" if encoder.kind == "text" else "images"

    @classmethod
    def build(cls, config: Config, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The untrained system, or the one on the encoders of finished runs.

        Raises:
            ConfigError: heads alone on members that nobody has trained; runs that do not fit together.
            DataError: the encoders do not read this data.
        """
        if config.mode == "heads" and not config.runs:
            raise ConfigError(
                "model.learn=heads trains no member: name finished runs, --set model.runs=runs/a,runs/b, or start from "
                "one of this system, --set start=runs/rich"
            )
        if config.runs:
            joined, lineage, kept = members_of_runs(config, data)
        else:
            joined, lineage, kept = fresh_members(config, data, assets, seed), {}, 0
        facts = cls.facts(config, data)
        if config.distil:
            system = cls(
                config, student(config, data, assets, seed, joined), seed=seed, teacher=joined, **facts
            )
        else:
            system = cls(config, joined, seed=seed, **facts)
        system.lineage, system.kept_scales = lineage, kept
        return system

    def architecture(self) -> dict[str, Any]:
        """JSON values from which it is rebuilt, without its weights; a distilled one without its members."""
        facts = {"classes": list(self.classes), **({"heads": self.num_heads} if self.config.distil else {})}
        return {"config": to_dict(self.config), "encoder": self.encoder.architecture(), "facts": facts}

    @staticmethod
    def plan_stages(config: Config, steps: int) -> tuple[Stage, ...]:
        """The stages of a run that names none."""
        return stages_of(config, steps)

    @property
    def members(self) -> Joined | None:
        """φ_1 … φ_n; ``None`` once they are distilled and gone."""
        return self.teacher if self.config.distil else self.encoder

    def start_stage(self, stage: str) -> None:
        """A snapshot goes on from the one before; the head on all members begins as the average of theirs."""
        self.stage = stage
        if stage.startswith("member ") and self.config.episodes == "snapshots":
            place = int(stage.removeprefix("member ")) - 1
            if place:
                for parts in (self._needed().members, self.heads):
                    parts[place].load_state_dict(parts[place - 1].state_dict())
        if stage == "head":
            self.head.load_state_dict(self.averaged_heads())

    @torch.no_grad()
    def averaged_heads(self) -> dict[str, Tensor]:
        """cat^sub as one head on all members: W = [W_1 … W_n]/n, b = Σ b_i/n.

        Each head is written as one on the joint vector that reads its own block alone; their average is that.
        """
        ends = self._needed().dims
        wide = [
            {"weight": F.pad(head.weight, (end - head.in_features, ends[-1] - end)), "bias": head.bias}
            for head, end in zip(self.heads, ends)
        ]
        return merge(wide, MergeConfig(method="average"))

    def _needed(self) -> Joined:
        members = self.members
        assert members is not None, "the members of a distilled system are gone"
        return members

    def loss(self, batch: Batch) -> LossOutput:
        """Of a stage: CE(ω_i(φ_i(x)), y); CE of the head on all; or Σ_i τ²·KL(σ(ω_i φ_i/τ) ‖ σ(ω̂_i φ_s/τ))/n.

        Without stages all of them at once: the members do not learn from the others' terms.
        """
        stage, x, y = batch.get("stage", ""), batch["input"], batch["label"]
        if stage.startswith("member "):
            place = int(stage.removeprefix("member ")) - 1
            return LossOutput.of({"cross_entropy": cross_entropy(self.member_logits(x, place), y)})
        terms: dict[str, Tensor] = {}
        if self.config.mode == "jointly":
            terms["cross_entropy"] = cross_entropy(self.head(torch.cat(self._needed().blocks(x), 1)), y)
            return LossOutput.of(terms)
        trains = stage == "" and self.config.mode == "apart"
        blocks = self._needed().blocks(x) if trains else self._finished_blocks(x)
        logits = [head(z) for head, z in zip(self.heads, blocks)]
        if stage in ("", "heads"):
            terms["members"] = torch.stack([cross_entropy(one, y) for one in logits]).mean()
        if stage in ("", "head") and self.config.share:
            terms["head"] = cross_entropy(self.head(torch.cat(blocks, 1).detach()), y)
        if stage in ("", "distil") and self.config.distil:
            terms["distillation"] = self.distillation(x, logits)
        return LossOutput.of(terms)

    def distillation(self, x: Any, teachers: Sequence[Float[Tensor, "batch classes"]]) -> Float[Tensor, ""]:
        """The student's divergence from each teacher, by the head that is for it, mean over teachers."""
        z, tau = self._vector(x), self.config.tau
        terms = [
            kl_to(soft_labels(logits, tau), head(z), temperature=tau)
            for head, logits in zip(self.student_heads, teachers)
        ]
        return torch.stack(terms).mean()

    def member_logits(self, x: Any, place: int) -> Float[Tensor, "batch classes"]:
        """ω_i(φ_i(x)); the other members do not run."""
        member: Any = self._needed().members[place]
        last = member.num_layers
        return self.heads[place](member(x, [last])[last])

    def _vector(self, x: Any) -> Float[Tensor, "batch dim"]:
        last = self.encoder.num_layers
        return self.encoder(x, [last])[last]

    @torch.no_grad()
    def _finished_blocks(self, x: Any) -> list[Float[Tensor, "batch _"]]:
        """What the members give once they have learnt: without dropout."""
        members = self._needed()
        mode = members.training
        members.eval()
        try:
            return members.blocks(x)
        finally:
            members.train(mode)

    def finish(self, examples: Examples) -> Iterator[str]:
        """Weighs the blocks so that all count alike in a cosine; the first stays as it is, and so do all
        blocks of a finished encoder that this one extends."""
        members = self.members
        if self.config.distil or members is None or len(members.members) <= max(1, self.kept_scales):
            return
        yield "weighing the members by the lengths of their vectors"
        rows = examples.take(range(min(_WEIGHED, len(examples))))
        lengths = torch.stack([block.norm(dim=1).mean() for block in self._blocks_of(rows["input"])])
        weighed = torch.where(lengths > 0, lengths[0] / lengths, 1.0)
        members.scales[self.kept_scales :] = weighed[self.kept_scales :]

    @torch.no_grad()
    def _blocks_of(self, inputs: Any) -> list[Float[Tensor, "rows _"]]:
        """The members' vectors of raw inputs, in evaluation mode."""
        device = next(self.parameters()).device
        parts = []
        for start in range(0, len(inputs), _CHUNK):
            x = self.encoder.collate({"input": inputs[start : start + _CHUNK]})["input"].to(device)
            parts.append(self._finished_blocks(x))
        return [torch.cat(several) for several in zip(*parts)]

    # ---- what users ask for -----------------------------------------------------------------------------------------

    @torch.no_grad()
    def logits(self, x: Any) -> Float[Tensor, "batch classes"]:
        """Of the classes that were trained on: by the head on all members, or the average of theirs; of a student by the
        average of its heads. While it trains, by what has been trained so far."""
        if self.config.distil and self.stage in ("", "distil"):
            z = self._vector(x)
            return torch.stack([head(z) for head in self.student_heads]).mean(0)
        blocks = self._finished_blocks(x)
        if self.config.mode == "jointly" or (self.config.share and self.stage in ("", "head")):
            return self.head(torch.cat(blocks, 1))
        done = int(self.stage.removeprefix("member ")) if self.stage.startswith("member ") else len(blocks)
        return torch.stack([head(z) for head, z in zip(self.heads, blocks[:done])]).mean(0)

    def probabilities(self, inputs: Any) -> Float[np.ndarray, "rows classes"]:
        """Of each class for raw texts or images."""
        parts = [np.zeros((0, len(self.classes)), dtype=np.float32)]
        device = next(self.parameters()).device
        for start in range(0, len(inputs), _CHUNK):
            x = self.encoder.collate({"input": inputs[start : start + _CHUNK]})["input"].to(device)
            parts.append(self.logits(x).softmax(-1).float().cpu().numpy())
        return np.concatenate(parts)

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """``label``, of those that were trained on, and its ``probability`` for each row of the column ``input``."""
        p = self.probabilities(columns["input"])
        return {"label": [self.classes[i] for i in p.argmax(1)], "probability": p.max(1, initial=0.0)}

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Accuracy on the rows of classes that were trained on; nothing, and a note, where there are none."""
        known, _ = split_new(examples, self.classes)
        if not len(known):
            warn(
                f"none of the {len(examples)} rows is of a class that was learnt ({', '.join(self.classes[:12])}): learn "
                "other labels from a few examples (brickwork classify --examples), or look at them (brickwork inspect)"
            )
            return {}
        right = self.probabilities(known.columns["input"]).argmax(1) == np.asarray(known.columns["label"])
        return {"accuracy": float(right.mean())}

    def draw(self, examples: Examples) -> list[Any]:
        """How well new labels are learnt from the first k members; how alike the members are; what each adds."""
        from brickwork.systems.rich_representations.drawing import drawings

        known, new = split_new(examples, self.classes)
        shown = new if len(new) else known
        return drawings(
            self.encoder, shown, are_new=len(new) > 0, seed=self.seed, published=published(self.config)
        )

    def load_data(self, config: Data, seed: int) -> TaskData:
        """Other data. Where all of its classes were trained on they are counted as they were; else all are new labels, and
        of a mixture it is said which ones are."""
        task = load_data(config, seed)
        names = task.class_names or tuple(map(str, range(task.num_classes or 0)))
        known = set(names) <= set(self.classes) or task.kind != "labelled"
        strange = [name for name in names if name not in self.classes]
        if 0 < len(strange) < len(names):
            warn(
                f"{task.name}: not learnt, and left out where accuracy is measured: {', '.join(strange[:12])}"
            )
        return with_classes(task, self.classes) if known else task

    # ---- going on from a finished run -------------------------------------------------------------------------------

    @staticmethod
    def facts(config: Config, data: TaskData) -> dict[str, Any]:
        """What follows from the data."""
        return {"classes": list(data.class_names or map(str, range(data.num_classes or 0)))}

    @classmethod
    def continued(cls, finished: "System", config: Config, *, seed: int, classes: Sequence[str]) -> "System":
        """Two-stage fine-tuning: the members of a finished run on the classes of other data, with fresh heads.

        Raises:
            ConfigError: another number of members, or a student, for which the run has to be trained anew.
        """
        joined = as_joined(finished.encoder)
        check_count(joined, config)
        if config.distil:
            raise ConfigError("model.distil has no effect with a start: distil where the members are trained")
        system = cls(config, joined, seed=seed, classes=classes)
        system.lineage = dict(getattr(finished, "lineage", {}))
        if config.mode == "heads":
            system.kept_scales = len(joined.members)
        else:  # its first dimensions are no longer those of any other model
            system.lineage.pop("extends", None)
        return system


def _drawn_head(width: int, classes: int, seed: int, place: int) -> nn.Module:
    """The head of a member, which is the same however many members there are."""
    seed_everything(generator_for(seed, place, "head").initial_seed())
    return classifier(width, classes)
