"""m2mKD: a modular student learns slot by slot from the slots of a trained network.

Lo, Liang, Du, Fan, Wang, Huang, Ma, Fu: m2mKD: Module-to-Module Knowledge Distillation for Modular Transformers. arXiv
2402.16918. The teacher by Deep Incubation: Ni et al., arXiv 2212.04129.

What is learnt: a modular network (here a vision transformer of mixtures of experts). Sparse networks learn badly from end to
end; so each part learns by itself, in the place of one layer of a small frozen network, to answer as the teacher's part does
in that place. Then all parts are put together and trained on the labels.

| paper | here | shape | meaning |
|---|---|---|---|
| M_i | ``meta.slots(L)[i]`` | | slot i of the meta network: one layer (first: and patches; last: and classes) |
| T_i | ``teacher.slots(L)[i]`` | | slot i of the teacher, as wide as the meta network |
| S_i | ``student.slots()[i]`` | | slot i of the student, of any width |
| φ_i, ψ_i | ``stitches[i]`` | | fit S_i into the meta network; thrown away afterwards, or kept |
| h | ``mixed.prefix(x)`` | (B, N, D) | M_{<i}(x) |
| t, s | ``t``, ``s`` | (B, C) | answers of the meta network with T_i, and with S_i, in slot i |
| α, τ | ``alpha``, ``temperature`` | | weight and temperature of the teacher's answers |

Stages: ``meta``; ``teacher 1`` …, ``teacher``; ``fit meta``; ``slot 1`` …; ``whole``. With a teacher that is given:
``teacher`` (its classifier), ``fit meta``, the slots, ``whole``.

Flow: towers.py (encoders.vit, encoders.image, modules.expert_blocks) → modules.slots → data.augment →
lessons.py (objectives.classification, objectives.distillation) → training.stages → ledger.py → representation.model.

Differences from the paper: see README.md. Shape legend: B images, N tokens, D width, C classes, L slots.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ConfigError, DataError, warn
from brickwork.core.seeding import generator_for, seed_everything
from brickwork.core.types import Batch, LossOutput
from brickwork.data.augment import Augmentation, augmented, draw, mixed
from brickwork.data.classes import with_classes
from brickwork.data.config import ImageDataConfig
from brickwork.data.load import load_task
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.image import ImageEncoder
from brickwork.modules.slots import Stitch, transfer
from brickwork.representation.contract import encodes, image_shape
from brickwork.representation.contract import representation as of_encoder
from brickwork.representation.kept import SystemRepresentation
from brickwork.representation.model import Representation
from brickwork.systems.m2mkd.assembly import check_start, from_parts, keep_others, settled
from brickwork.systems.m2mkd.circuit_layers import Noise
from brickwork.systems.m2mkd.circuits import drawing
from brickwork.systems.m2mkd.config import Circuits, Config, controls_of, stages_of
from brickwork.systems.m2mkd.hybrids import misfits, networks_of, watched
from brickwork.systems.m2mkd.ledger import Ledger, phases
from brickwork.systems.m2mkd.lessons import copy_layers, learners, meta_terms, stage_loss
from brickwork.systems.m2mkd.towers import (
    Shape,
    Tower,
    TowerShape,
    check_images,
    given_teacher,
    own_shape,
    student_of,
)
from brickwork.training.config import Stage

__all__ = ["Config", "Data", "System"]

Data = ImageDataConfig
_CHUNK = 256
_PLAIN = Augmentation()
_PRICED = 2  # images by which a stage's operations are counted


@encodes
class System(nn.Module):
    """Meta network and teacher (where the student learns from them), the student, and its stitches.

    ``teacher``: sizes of a teacher that was given (:class:`~brickwork.systems.m2mkd.towers.TowerShape`). ``fitted``: whether
    the graph of a circuit is made.
    """

    reads = ("labelled",)
    input_kind: Literal["images"] = "images"

    def __init__(
        self,
        config: Config,
        *,
        seed: int,
        classes: Sequence[str],
        image_shape: Sequence[int],
        teacher: Mapping[str, Any] | None = None,
        fitted: bool = True,
    ):
        super().__init__()
        self.config, self.seed, self.classes = config, seed, tuple(classes)
        height, width, channels = image_shape
        self.image_shape: Shape = (height, width, channels)
        self._facts: dict[str, Any] = {
            "classes": list(classes),
            "image_shape": list(image_shape),
            "teacher": teacher,
        }
        self.lineage: dict[str, Any] = {}
        shape = own_shape(config) if teacher is None else TowerShape(**teacher)
        count = config.slots
        self.meta = (
            self._drawn("meta", self._tower, replace(shape, num_layers=count)) if config.has_meta else None
        )
        self.teacher = self._drawn("teacher", self._tower, shape) if config.taught else None
        self.student: Any = self._drawn("student", self._student, shape, fitted)
        self.stitches = nn.ModuleList(
            self._drawn(f"stitch {place}", self._stitch, place, shape.width)
            for place in range(count)
            if config.apart
        )
        self.control: Any = self._drawn("student", self._student, shape, fitted) if config.control else None
        self.ledger = Ledger(count)
        self._stage = ""
        self._below: list[str] = []

    def _drawn(self, name: str, make: Callable[..., Any], *sizes: Any) -> Any:
        """A part whose weights depend on the seed and on nothing that was made before it."""
        seed_everything(generator_for(self.seed, 0, name).initial_seed())
        return make(*sizes)

    def _tower(self, shape: TowerShape) -> Tower:
        return Tower(shape, self.image_shape, len(self.classes))

    def _student(self, shape: TowerShape, fitted: bool) -> Any:
        outer = shape.width if self.config.apart else None
        return student_of(
            self.config,
            self.image_shape,
            len(self.classes),
            patch=shape.patch,
            outer=outer,
            seed=self.seed,
            fitted=fitted,
        )

    def _stitch(self, place: int, outer: int) -> Stitch:
        last = place == self.config.slots - 1
        return Stitch(
            self.config.stitches, outer=outer, inner=self.student.width, first=place == 0, last=last
        )

    @classmethod
    def build(cls, config: Config, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The untrained system, with the weights of a teacher that is given.

        Raises:
            ConfigError: a part of a training without the run that it goes on from; no vision transformer.
            DataError: no images, or not of the teacher's size.
        """
        if config.slot or config.parts or config.renew:
            asked = "slot" if config.slot else "parts" if config.parts else "renew"
            raise ConfigError(
                f"model.{asked} goes on from a finished run: name its folder, --set start=runs/prepared "
                "(a run with model.prepare=true, or a whole one)"
            )
        facts = cls.facts(config, data)
        if not config.given:
            return cls(config, seed=seed, **facts)
        given = given_teacher(config)
        check_images(given, tuple(facts["image_shape"]), data.name)
        system = cls(config, seed=seed, **facts, teacher=asdict(given.shape))
        teacher = system.teacher
        assert teacher is not None, "a teacher that is given is used"
        transfer(given.vit, teacher.vit)
        if given.head is not None:
            transfer(given.head, teacher.maps[0])
        for tower in (teacher, *([system.meta] if system.meta is not None else [])):
            tower.scale.a.copy_(given.a)
            tower.scale.b.copy_(given.b)
        system.lineage = {"teacher": given.lineage}
        return system

    @staticmethod
    def facts(config: Config, data: TaskData) -> dict[str, Any]:
        """What follows from the data.

        Raises:
            DataError: no images.
        """
        if data.modality != "image":
            raise DataError(
                f"{data.name} holds {data.modality}s, and m2mkd reads images; bring images by class"
            )
        classes = list(data.class_names or map(str, range(data.num_classes or 0)))
        return {"classes": classes, "image_shape": list(image_shape(data))}

    def architecture(self) -> dict[str, Any]:
        """JSON values from which it is rebuilt, without its weights."""
        return {"config": to_dict(self.config), "facts": self._facts}

    @classmethod
    def restore(cls, architecture: Mapping[str, Any], tokenizer_json: str | None) -> "System":
        """With fresh weights."""
        return cls(from_dict(Config, architecture["config"]), seed=0, **architecture["facts"], fitted=False)

    @classmethod
    def continued(
        cls,
        finished: "System",
        config: Config,
        *,
        seed: int,
        classes: Sequence[str],
        image_shape: Sequence[int],
    ) -> "System":
        """One slot, or the assembled student, with teacher and meta network of a finished run; or a finished student with
        one slot anew.

        Raises:
            ConfigError: another kind of training, or options that differ from those of the run.
            ArtifactError: parts that do not belong to it.
        """
        check_start(config, finished, classes, image_shape)
        system = cls(settled(config, finished.config), seed=seed, **finished._facts)
        for name in ("meta", "teacher"):
            if (part := getattr(system, name)) is not None:
                transfer(getattr(finished, name), part)
        system.lineage = dict(finished.lineage)
        kept = phases(config.slots)[:-1] if config.renew else ("meta", "teacher")
        system.ledger.take(finished.ledger, only=kept)
        if config.parts:
            from_parts(system, config.parts)
        if config.renew is not None:
            keep_others(system, finished, config.renew - 1)
        return system

    @staticmethod
    def plan_stages(config: Config, steps: int) -> tuple[Stage, ...]:
        """The stages of a run that names none."""
        return stages_of(config, steps)

    # ---- training ----------------------------------------------------------------------------------------------------

    @property
    def encoder(self) -> ImageEncoder:
        """The assembled student's, whose vectors users get."""
        encoder: ImageEncoder = self.student.encoder
        return encoder

    def collate(self, columns: Mapping[str, Any]) -> Batch:
        """Images as numbers in −1 … 1, and labels."""
        return self.encoder.collate(columns)

    def start_stage(self, stage: str) -> None:
        """Says which parameters learn; gives the meta network of a given teacher its layers, and the student its joints."""
        self._stage = stage
        learn = {id(p) for part in learners(self, stage) for p in part.parameters()}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in learn)
        if stage == "fit meta" and self.config.given:
            copy_layers(self)
        if stage == "whole" and self.config.apart:
            self.student.assemble(list(self.stitches))
        if stage.startswith("slot "):
            self._warn_of_misfits()
        if self.training:
            places = range(self.config.slots) if stage == "fit meta" else (None,)
            self.ledger.price(stage, lambda: self._try(stage, places), _PRICED * len(places))

    def _try(self, stage: str, places: Sequence[int | None]) -> None:
        """A forward and backward pass for each of ``places``, to be counted; in ``fit meta`` with the teacher's there."""
        height, width, channels = self.image_shape
        like = next(self.parameters())
        batch: Batch = {
            "input": like.new_zeros(_PRICED, channels, height, width),
            "label": torch.zeros(_PRICED, dtype=torch.int64, device=like.device),
            "indices": list(range(_PRICED)),
            "step": 0,
        }
        with torch.enable_grad(), self._drawing(batch):
            x, y = self._seen(batch)
            for place in places:
                of_place = None if place is None else LossOutput.of(meta_terms(self, x, y, place))
                (of_place or stage_loss(self, stage, x, y, step=0)).total.backward()
        self.zero_grad(set_to_none=True)

    def loss(self, batch: Batch) -> LossOutput:
        """Of a stage; without stages of each kind of them, of those with a number the one that the step draws."""
        with self._drawing(batch):
            return self._loss(batch)

    def _loss(self, batch: Batch) -> LossOutput:
        stage, step = batch.get("stage", ""), batch.get("step", 0)
        x, y = self._seen(batch)
        if stage:
            if self.training:
                self.ledger.spend(stage, len(x))
            return stage_loss(self, stage, x, y, step=step)
        kinds: dict[str, list[str]] = {}
        for planned in stages_of(self.config, 10_000):
            kinds.setdefault(planned.name.rstrip("0123456789"), []).append(planned.name)
        chosen = {kind: names[step % len(names)] for kind, names in kinds.items()}
        outputs = {kind.strip(): stage_loss(self, name, x, y, step=step) for kind, name in chosen.items()}
        terms = {f"{kind} {name}": term for kind, out in outputs.items() for name, term in out.terms.items()}
        weights = {f"{kind} {name}": w for kind, out in outputs.items() for name, w in out.weights.items()}
        return LossOutput.of(terms, weights)

    def _drawing(self, batch: Batch) -> AbstractContextManager[None]:
        """What circuits draw while they train is of the step and the rows of the batch."""
        return drawing(self, Noise(self.seed, batch.get("step", 0), batch.get("indices", ())))

    def _seen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images and labels; while it trains, changed and mixed."""
        x, y, config = batch["input"], batch["label"], self.config
        if not self.training:
            return x, y
        drawn = {"seed": self.seed, "step": batch["step"], "rows": batch["indices"]}
        if config.views != _PLAIN:
            x = 2 * augmented((x + 1) / 2, draw(config.views, **drawn)) - 1
        return mixed(x, y, len(self.classes), config.mixing, **drawn)

    # ---- vectors -----------------------------------------------------------------------------------------------------

    @property
    def encoder_trained(self) -> bool:
        """Whether vectors are of a student that has learnt: not those of a part of a training."""
        return not (self.config.prepare or self.config.slot)

    def representation(self) -> Representation:
        """The student's encoder, of a circuit the whole system; with a warning where it has not learnt."""
        if not self.encoder_trained and self.ledger.spent():
            part = "teacher and meta network" if self.config.prepare else f"slot {self.config.slot}"
            warn(
                f"this run has trained {part} alone: its vectors are those of a student that has not learnt, and of no use "
                "for search or classes. Assemble the slots (--set model.parts=…) and take the vectors of that run"
            )
        return SystemRepresentation(self) if isinstance(self.config.student, Circuits) else of_encoder(self)

    # ---- measuring ---------------------------------------------------------------------------------------------------

    def networks(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """What has been trained, by name (:func:`brickwork.systems.m2mkd.hybrids.networks_of`)."""
        return networks_of(self)

    def answering(self) -> str:
        """Which of :meth:`networks` answers users: the student, or what a part of a training has made."""
        known = self.networks()
        wanted = f"student_slot_{self.config.slot}" if self.config.slot else "student"
        order = (wanted, "teacher", "meta")
        return next((name for name in order if name in known), "student")

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """Accuracies of what users get and of all networks, operations by phase (in 10⁹), and how many of the teacher's
        slots the meta network is better without."""
        right = self.accuracies(examples, list(self.networks()) or ["student"])
        below = misfits(right, len(examples))
        scores = {"accuracy": right.get(self.answering(), right[list(right)[-1]])}
        scores |= {name: value for name, value in right.items() if name != "student"}
        scores |= {f"gflops {phase}": flops / 1e9 for phase, flops in self.ledger.spent().items()}
        return scores | ({"slots_below_meta": float(len(below))} if below else {})

    def watch(self, examples: Examples) -> dict[str, float]:
        """Accuracies of the networks that the stage of now trains; ``accuracy`` is the student's."""
        right = self.accuracies(examples, watched(self, self._stage) or ["student"])
        self._below = misfits(right, len(examples))
        return {"accuracy" if name == "student" else name: value for name, value in right.items()}

    def accuracies(self, examples: Examples, names: Sequence[str]) -> dict[str, float]:
        """Share of right answers of each of ``names``.

        Raises:
            ConfigError: as :meth:`probabilities`.
        """
        images, labels = examples.columns["input"], np.asarray(examples.columns["label"])
        right = {name: self.probabilities(images, name).argmax(1) == labels for name in names}
        return {name: float(ones.mean()) if len(ones) else 0.0 for name, ones in right.items()}

    @torch.no_grad()
    def probabilities(
        self, images: Any, network: str | Callable[[Tensor], Tensor] = "student"
    ) -> Float[np.ndarray, "rows classes"]:
        """Of each class for images (N, H, W, C), by one of :meth:`networks`, the student before it has learnt, or any other.

        Raises:
            ConfigError: no such network, or it was not trained in this run.
        """
        answer = network
        if isinstance(answer, str):
            known = {"student": self.student.logits, **self.networks()}
            if answer not in known:
                raise ConfigError(f"'{answer}' is no network that this run has trained: {', '.join(known)}")
            answer = known[answer]
        parts = [np.zeros((0, len(self.classes)), dtype=np.float32)]
        device = next(self.parameters()).device
        for start in range(0, len(images), _CHUNK):
            x = self.encoder.collate({"input": images[start : start + _CHUNK]})["input"].to(device)
            parts.append(answer(x).softmax(-1).float().cpu().numpy())
        return np.concatenate(parts)

    def _warn_of_misfits(self) -> None:
        """Slots of the teacher that have drifted from the meta network have little to teach there."""
        if self._below:
            warn(
                f"slots {', '.join(self._below)} of the teacher are worse in the meta network than its own layers, on "
                "held-out images: what the student learns there may not help. Train teacher and meta network for longer "
                "(--set model.teacher_share=0.5), or take fewer slots"
            )
        self._below = []

    def predict(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """``label`` and its ``probability`` for each image of the column ``input``."""
        p = self.probabilities(columns["input"], self.answering())
        return {"label": [self.classes[i] for i in p.argmax(1)], "probability": p.max(1, initial=0.0)}

    def load_data(self, config: Data, seed: int) -> TaskData:
        """Other data with the classes that were learnt.

        Raises:
            DataError: it has another class.
        """
        return with_classes(load_task(config, seed), self.classes)

    @staticmethod
    def controls(config: Config) -> dict[str, Config]:
        """The student whole and in slots, with and without a teacher: each with all steps of the run, those of its teacher
        among them."""
        return controls_of(config)

    @staticmethod
    def compared(scores: Mapping[str, float]) -> dict[str, float]:
        """Accuracy of the student."""
        return {"points of accuracy": 100 * scores["accuracy"]}

    def draw(self, examples: Examples) -> list[Any]:
        """The slots in a row, and the operations of each phase."""
        from brickwork.systems.m2mkd.drawing import drawings

        return drawings(self, examples)
