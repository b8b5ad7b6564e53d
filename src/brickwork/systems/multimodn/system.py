"""MultiModN: a state passes the modalities that are there, one after the other, and every task reads it after each.

Swamy, Satayeva, Frej, Bossy, Vogels, Jaggi, Käser, Hartley: MultiModN – Multimodal, Multi-Task, Interpretable Modular
Networks. NeurIPS 2023, arXiv 2309.14118. Authors' code: EPFLiGHT/MultiModN.

What is learnt: one encoder e_i a modality, which overwrites the state from the old state and its modality, and one decoder
d_t a task, which reads any state. What is missing is a skipped link, not a filled-in value.

| paper       | here                   | shape       | meaning                                                        |
|-------------|------------------------|-------------|----------------------------------------------------------------|
| s_0         | fusion.initial         | (S)         | trainable initial state, drawn from N(0, 1)                    |
| s_i         | states[i]              | (B, S)      | state after i modalities                                       |
| x_i         | features[i]            | (B, F_i)    | a modality's features                                          |
| e_i         | fusion.encoders[i]     | F_i + S → S | MLP, dropout on its input, ReLU also on its output             |
| d_t         | decoders[t]            | S → C_t     | MLP; the same at every step                                    |
| L[i, t]     | step_losses(…)[i]      |             | loss of task t after i modalities; 0 for rows that skip it     |
| chg[i]      | output.change[i]       |             | mean (s_i − s_{i−1})²                                          |
| λ_err, λ_chg| error_weight, change_weight |        | L = λ_err · ΣL/(T(M+1)) + 0.01 · λ_chg · Σchg/M                |

Differences from the paper: see README.md. Shape legend: B rows, M modalities, T tasks, S state, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.config import from_dict, to_dict
from brickwork.core.errors import ConfigError
from brickwork.core.types import Batch, LossOutput, Trace
from brickwork.data.types import Examples, TaskData
from brickwork.evaluation.classification import scores_by_task
from brickwork.representation.contract import complete
from brickwork.systems.multimodn.config import MultiModNConfig, ParallelFusionConfig, SequentialFusion
from brickwork.systems.multimodn.data import Data
from brickwork.systems.multimodn.frozen import FrozenBackbone, backbones_of
from brickwork.systems.multimodn.layout import TableLayout, TargetLayout
from brickwork.systems.multimodn.missingness import (
    complete_modalities,
    warn_of_dependence,
    warn_of_new_categories,
    warn_of_new_gaps,
)
from brickwork.systems.multimodn.modules import (
    ChainOutput,
    ParallelFusion,
    StateChain,
    drop_modalities,
    task_decoder,
)
from brickwork.systems.multimodn.objective import class_probabilities, step_losses
from brickwork.systems.multimodn.readers import ModalityReader, target_scales, target_tensors
from brickwork.systems.multimodn.sets import SETS, multimodal_task
from brickwork.systems.multimodn.step_outputs import moves, predictions, traces
from brickwork.systems.multimodn.tables import multitask_table, typed_examples

Config = MultiModNConfig
_BATCH = 1024  # rows of a batch when nothing is learnt


def load_data(config: Data, seed: int, layout: TableLayout | None = None) -> TaskData:
    """A known set with modalities, or the user's table, in the ``layout`` that was learnt if there is one."""
    if config.source in SETS:
        return multimodal_task(config, seed)
    return multitask_table(Path(config.source).expanduser(), config, seed, layout)


@complete
class System(nn.Module):
    """Readers of modalities, their fusion, and a decoder a task. ``scales``: (mean, deviation) of each number target.
    ``complete``: modalities that no row of training lacked. ``backbones``: pretrained encoders that readers use, by what
    they read."""

    reads = ("multitask",)
    input_kind: Literal["columns"] = "columns"

    def __init__(
        self,
        config: MultiModNConfig,
        readers: Sequence[ModalityReader],
        *,
        targets: Sequence[TargetLayout],
        scales: Mapping[str, Sequence[float]],
        complete: Sequence[str] = (),
        na_values: Sequence[str] = (),
        backbones: Mapping[str, FrozenBackbone] | None = None,
    ):
        super().__init__()
        self.config = config
        self.backbones = dict(backbones or {})
        self.readers = nn.ModuleList(readers)
        self.layout = TableLayout(
            modalities=tuple(reader.layout for reader in readers),
            targets=tuple(targets),
            na_values=tuple(na_values),
        )
        self.scales = {name: tuple(scale) for name, scale in scales.items()}
        self.complete = tuple(complete)
        widths, chosen = [reader.width for reader in readers], config.fusion
        if isinstance(chosen, SequentialFusion):
            self.fusion: StateChain | ParallelFusion = StateChain(
                widths, chosen.state_dim, config.hidden, config.dropout
            )
            width, dropout = chosen.state_dim, 0.0
            self.skip: Literal["sample", "batch"] = chosen.skip
            self.shuffle, change_weight = chosen.shuffle, chosen.change_weight
        else:
            self.fusion = ParallelFusion(widths, chosen.fill)
            width, dropout = self.fusion.width, config.dropout
            self.skip, self.shuffle, change_weight = "sample", False, 0.0
        self.decoders = nn.ModuleList(
            task_decoder(width, config.hidden, len(target.classes), dropout, config.classifier)
            for target in targets
        )
        self.weights = {
            "error": config.error_weight,
            "change": 0.01 * change_weight,
        }  # the 0.01 is the authors'

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps: before any modality, then after each; a parallel fusion has one."""
        return ("start", *self.layout.names) if isinstance(self.fusion, StateChain) else ("all",)

    def collate(self, columns: dict[str, Any]) -> Batch:
        """Columns as :class:`TableLayout` describes them, as tensors; targets that are numbers are standardised."""
        batch: Batch = {}
        for reader in self.readers:
            batch |= cast(ModalityReader, reader).prepare(columns)
        return batch | target_tensors(self.layout, columns, self.scales)

    def forward(
        self, batch: Batch, skip: Literal["sample", "batch"] = "sample", last: bool = False
    ) -> tuple[list[Tensor], ChainOutput | None]:
        """For each task the outputs of every step, (Q, B, C_t), or of the ``last`` alone, (1, B, C_t); and the states of a
        sequential fusion."""
        features = [reader(batch) for reader in self.readers]
        present = [batch[f"{name}.present"] for name in self.layout.names]
        if self.training and self.config.modality_dropout:
            present = drop_modalities(present, self.config.modality_dropout)
        if isinstance(self.fusion, ParallelFusion):
            x = self.fusion(features, present)
            return [decoder(x)[None] for decoder in self.decoders], None
        order = torch.randperm(len(features)).tolist() if self.training and self.shuffle else None
        chain = self.fusion(features, present, order, skip)
        # d_t(s_i) for i = 0 … M
        states = chain.states[-1:] if last else chain.states
        if torch.is_grad_enabled():
            together = torch.stack(states)
            return [decoder(together) for decoder in self.decoders], chain
        # One by one: all states of many rows together are more than the processor's cache holds.
        return [torch.stack([decoder(state) for state in states]) for decoder in self.decoders], chain

    def loss(self, batch: Batch) -> LossOutput:
        """L = λ_err · Σ_i Σ_t L[i, t] / (T · (M + 1)) + 0.01 · λ_chg · Σ_i chg[i] / M."""
        outputs, chain = self(batch, self.skip)
        taken = torch.ones_like(outputs[0][..., 0], dtype=torch.bool) if chain is None else chain.updated
        targets = [batch[target.column] for target in self.layout.targets]
        table = torch.stack(
            [step_losses(out, y, taken, outputs_are=self.config.outputs) for out, y in zip(outputs, targets)]
        )
        terms, weights = {"error": table.mean()}, {"error": self.weights["error"]}
        if chain is not None:
            terms["change"], weights["change"] = chain.change.mean(), self.weights["change"]
        last = {f"last/{target.name}": value for target, value in zip(self.layout.targets, table[:, -1])}
        return LossOutput.of(terms, weights, last)

    @torch.no_grad()
    def stages(
        self,
        examples: Examples,
        skip: Literal["sample", "batch"] = "sample",
        batch_rows: int = _BATCH,
        *,
        last: bool = False,
    ) -> dict[str, Float[np.ndarray, "steps rows _out"]]:
        """The output of each task at each step, or at the ``last`` alone (its answer, in a fraction of the time):
        probabilities of the classes, or the number in its own unit (one column).

        A step whose modality is missing repeats the one before. An answer depends on its row alone, unless the authors'
        ``skip="batch"`` is asked for, with batches of ``batch_rows``.
        """
        device = next(self.parameters()).device
        parts: dict[str, list[np.ndarray]] = {target.name: [] for target in self.layout.targets}
        for start in range(0, max(1, len(examples)), batch_rows):
            columns = examples.take(range(start, min(start + batch_rows, len(examples))))
            batch = {name: value.to(device) for name, value in self.collate(columns).items()}
            for target, out in zip(self.layout.targets, self(batch, skip, last)[0]):
                if target.is_class:
                    out = class_probabilities(out, self.config.outputs)
                else:
                    mean, deviation = self.scales[target.name]
                    out = out.double() * deviation + mean
                parts[target.name].append(out.cpu().numpy())
        return {name: np.concatenate(batches, axis=1).astype(np.float64) for name, batches in parts.items()}

    def predict(self, columns: Any) -> dict[str, Any]:
        """For each task the class with the probability of each, or the number, after the last modality that is there.

        ``columns``: by name, in a dictionary or data frame; the user's own, or those of :class:`TableLayout`. Those of a
        missing modality may be left out. Images that are paths are read from the working folder and below it; a ``Path``
        is taken as it stands.

        Raises:
            DataError: a part of a modality's columns is there and another is not, or no column is known.
        """
        examples = typed_examples(self.layout, columns, folder=Path(), with_targets=False)
        warn_of_new_gaps(examples, self.complete)
        warn_of_new_categories(examples, self.readers)
        return predictions(self.layout, self.stages(examples, last=True))

    @torch.no_grad()
    def layer_vectors(self, inputs: Any) -> dict[str, Float[np.ndarray, "rows state"]]:
        """The state s_i after each modality, by its name; of a parallel fusion what the task decoders read. ``inputs``: as
        :meth:`predict` takes them."""
        examples = typed_examples(self.layout, inputs, folder=Path(), with_targets=False)
        device = next(self.parameters()).device
        parts: dict[str, list[np.ndarray]] = {}
        for start in range(0, len(examples), _BATCH):
            columns = examples.take(range(start, min(start + _BATCH, len(examples))))
            batch = {name: value.to(device) for name, value in self.collate(columns).items()}
            features = [reader(batch) for reader in self.readers]
            present = [batch[f"{name}.present"] for name in self.layout.names]
            if isinstance(self.fusion, StateChain):
                states = self.fusion(features, present, None, self.skip).states[1:]
                named = {f"after {name}": state for name, state in zip(self.layout.names, states)}
            else:
                named = {"all modalities": self.fusion(features, present)}
            for name, state in named.items():
                parts.setdefault(name, []).append(state.float().cpu().numpy())
        return {name: np.concatenate(batches) for name, batches in parts.items()}

    def load_data(self, config: Data, seed: int) -> TaskData:
        """Other data of the columns and classes that were learnt.

        Raises:
            DataError: a column of a modality or a target is not there, or has a class that was not learnt.
        """
        return load_data(config, seed, self.layout)

    def evaluate(self, examples: Examples) -> dict[str, float]:
        """AUROC and balanced accuracy of class targets; R² and mean absolute error of numbers."""
        outputs = {name: last for name, (last,) in self.stages(examples, last=True).items()}
        kinds = {target.name: target.is_class for target in self.layout.targets}
        truth = {target.name: np.asarray(examples.columns[target.column]) for target in self.layout.targets}
        return scores_by_task(outputs, truth, kinds)

    @staticmethod
    def controls(config: MultiModNConfig) -> dict[str, MultiModNConfig]:
        """P-Fusion, the paper's baseline (all features side by side, one plain network a task); ``config``, or MultiModN
        where that is the baseline."""
        ours = config.fusion if isinstance(config.fusion, SequentialFusion) else SequentialFusion()
        theirs = config.fusion if isinstance(config.fusion, ParallelFusionConfig) else ParallelFusionConfig()
        return {"P-Fusion": replace(config, fusion=theirs), "MultiModN": replace(config, fusion=ours)}

    @staticmethod
    def compared(scores: Mapping[str, float]) -> dict[str, float]:
        """AUROC of each target of classes, R² of each number."""
        words = {"auroc": "points of AUROC", "r2": "hundredths of R²"}
        split = {name: name.rpartition("/") for name in scores}
        return {
            f"{words[kind]} of {task}": 100 * scores[name]
            for name, (task, _, kind) in split.items()
            if kind in words
        }

    def contributions(self, examples: Examples, target: str) -> Float[np.ndarray, "rows modalities"]:
        """How far each modality moved the answer along :func:`brickwork.systems.multimodn.step_outputs.path`.

        Raises:
            ConfigError: a parallel fusion has no steps to compare.
            DataError: no such target.
        """
        self._needs_steps()
        layout = self.layout.target(target)
        return moves(layout, self.stages(examples)[layout.name])

    def _needs_steps(self) -> None:
        if not isinstance(self.fusion, StateChain):
            raise ConfigError("contributions are the steps of a sequential fusion; this model is parallel")

    def trace(self, examples: Examples) -> list[Trace]:
        """The contributions for each target, by true class. Raises ConfigError where there are no steps."""
        self._needs_steps()
        return traces(self.layout, self.stages(examples), examples)

    def architecture(self) -> dict[str, Any]:
        """What the system is rebuilt from: configuration, layout, statistics and sizes."""
        return {
            "config": to_dict(self.config),
            "layout": to_dict(self.layout),
            "encoders": [cast(ModalityReader, reader).encoder.architecture() for reader in self.readers],
            **({"backbones": [one.about for one in self.backbones.values()]} if self.backbones else {}),
            "facts": {
                "scales": {name: list(scale) for name, scale in self.scales.items()},
                "complete": list(self.complete),
            },
        }

    @staticmethod
    def build(config: MultiModNConfig, data: TaskData, assets: Path | None, seed: int) -> "System":
        """The untrained system for ``data``, with the statistics of its training part.

        Warns where a modality's absence depends on a target: see :mod:`brickwork.systems.multimodn.missingness`.

        Raises:
            ConfigError: an order that does not name each modality once.
        """
        layout = data.details
        assert isinstance(layout, TableLayout), "what the readers of this kind of data give"
        warn_of_dependence(data.train, layout, config.modality_dropout)
        columns = data.train.columns
        modalities = [layout.modality(name) for name in config.reading_order(layout.names)]
        has = [*("text" for m in modalities if m.texts), *(m.kind for m in modalities)]
        backbones = backbones_of(has, config.frozen_text, config.frozen_image)
        readers = [
            ModalityReader.fitted(m, columns, config.image, config.series_width, config.bins, backbones)
            for m in modalities
        ]
        return System(
            config,
            readers,
            targets=layout.targets,
            scales=target_scales(layout, columns),
            complete=complete_modalities(data.train, layout),
            na_values=layout.na_values,
            backbones=backbones,
        )

    @staticmethod
    def restore(architecture: Mapping[str, Any], tokenizer_json: str | None) -> "System":
        """The system that :meth:`architecture` described, with fresh weights.

        Raises:
            AbsentModelError: a pretrained encoder that it reads with is not here, or is another one.
        """
        layout = from_dict(TableLayout, architecture["layout"])
        described = architecture.get("backbones", ())
        backbones = {about["kind"]: FrozenBackbone.restored(about) for about in described}
        readers = [
            ModalityReader.restored(m, a, backbones)
            for m, a in zip(layout.modalities, architecture["encoders"], strict=True)
        ]
        config = from_dict(MultiModNConfig, architecture["config"])
        facts = architecture["facts"]
        return System(
            config,
            readers,
            targets=layout.targets,
            scales=facts["scales"],
            complete=facts["complete"],
            na_values=layout.na_values,
            backbones=backbones,
        )
