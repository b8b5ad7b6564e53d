"""2D Matryoshka Sentence Embeddings: any depth and any prefix of one sentence encoder.

Li, Li, Li, Xie, Li: 2D Matryoshka Sentence Embeddings. arXiv 2402.14776, versions 1 and 3 (version 2 is another method,
ESE: Espresso Sentence Embeddings, ICLR 2025; here variant="ese"). Authors' code: SeanLee97/AnglE at 74e5ba2.

What is learnt: a transformer whose pooled hidden states after any layer n, cut to any prefix d, are a sentence embedding,
because each step also trains one random layer and one random prefix and aligns that layer with the last.

| paper        | here                        | shape    | meaning                                             |
|--------------|-----------------------------|----------|-----------------------------------------------------|
| N, D         | encoder.num_layers, dims[-1]|          | full depth and width                                |
| X_n          | embeddings["column/n"]      | (B, D)   | pooled hidden states after layer n, not normalised  |
| X_n^d        | cut(X_n, d)                 | (B, d)   | prefix; normalised inside the similarity only       |
| n ~ U{1,N−1} | plan.layers                 |          | the layer drawn for a step                          |
| d ~ U(sizes) | plan.pairs                  |          | the prefix drawn for a step                         |
| ℓ            | base                        |          | InfoNCE, CoSENT or AnglE                            |
| T            | kl_temperature              |          | of the softmax over the D coordinates in L3         |

The step (2dmse):
  L1 = ℓ(X_N) + ℓ(X_n);  L2 = ℓ(X_N^d) + ℓ(X_n^d);  L3 = T²·KL(softmax(X_N/T) ‖ softmax(X_n/T));  L = L1 + L2 + L3

Flow: data.load → encoders.text (an exit after every layer) → objective.py over objectives.contrastive and
objectives.distillation → training.loop → representation.model → index.

Differences from the paper: see README.md.
Shape legend: B rows, D width, N layers.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from brickwork.core.elastic import ElasticAxes, check_nested, nested_sizes
from brickwork.core.errors import ConfigError, DataError
from brickwork.core.types import Batch, LossOutput
from brickwork.data.types import Examples, TaskData
from brickwork.encoders.text import TextEncoder, encode_columns
from brickwork.objectives.pairwise import Objective, choose_objective, pair_loss
from brickwork.representation.contract import encodes
from brickwork.representation.model import Representation
from brickwork.systems.matryoshka_2d.closed_form import FEWEST, ClosedForm, closed_form_of, maps_of
from brickwork.systems.matryoshka_2d.config import Config
from brickwork.systems.matryoshka_2d.config import Data as Data
from brickwork.systems.matryoshka_2d.mapped import COLUMNS, learn_maps
from brickwork.systems.matryoshka_2d.objective import DepthWidthPlan, depth_width_loss, plan_step

_MAPPED = ("2dmse", "2dmse_weighted", "adaptive_layer", "mapped")


@encodes
class System(nn.Module):
    """A text encoder and a loss on several of its depths and widths; ``seed`` is that of its draws."""

    reads = ("pairs", "triplets", "scored")

    @staticmethod
    def variant(config: Config) -> "type[System] | type[ClosedForm]":
        """The class that trains in steps, or the one that solves."""
        return ClosedForm if config.variant == "closed_form" else System

    def __init__(self, config: Config, encoder: TextEncoder, *, seed: int, objective: Objective):
        super().__init__()
        if encoder.num_layers < 2:
            raise ConfigError(
                f"model.encoder '{config.encoder.backbone}' has one layer, so there is no depth to cut; "
                "use matryoshka, or an encoder with at least 2 layers"
            )
        if config.variant == "mapped" and encoder.exits is None:
            encoder.add_exits(config.layers or tuple(range(encoder.num_layers + 1)))
        if config.layers and encoder.exits is None:
            check_nested("layers", config.layers, encoder.num_layers)
        if encoder.exits is not None:
            _check_mapped(config, encoder.depths)
        self.config = config
        self.encoder = encoder
        self.objective: Objective = objective
        self.seed = seed
        width = encoder.embedding_dim
        ese = (config.compression_dim or max(1, width // 6), width)
        self.dims = nested_sizes(width, ese if config.variant == "ese" else config.dims)
        self.axes = ElasticAxes(dims=self.dims, layers=self._exits())
        if config.variant == "mapped":
            maps_of(encoder).requires_grad_(False)  # they are learnt afterwards
            self._began = {name: value.detach().clone() for name, value in encoder.named_parameters()}

    @staticmethod
    def facts(config: Config, data: TaskData) -> dict[str, Any]:
        """The objective that goes with ``data``.

        Raises:
            DataError: data that the objective cannot use.
        """
        offered: tuple[Objective, ...] = ("info_nce", "cosent", "angle")
        if config.variant == "mapped" and len(data.train) < FEWEST:
            raise DataError(
                f"{data.name}: {len(data.train)} examples are too few to learn maps from: give at least {FEWEST}, better "
                "some thousands; or set model.variant=2dmse"
            )
        return {"objective": choose_objective(config.objective, data.kind, offered, "matryoshka-2d")}

    @staticmethod
    def continued(
        finished: "System | ClosedForm", config: Config, *, seed: int, objective: Objective
    ) -> "System":
        """The encoder of a finished run, with its maps if it has some, trained from now on as ``config`` has it. It keeps
        its shape; texts are cut where ``config`` says.

        Raises:
            ConfigError: another encoder than that of the run, or a closed form, which starts from a published model.
        """
        if config.variant == "closed_form":
            raise ConfigError(
                "start has no effect with variant 'closed_form', which solves the maps of a published model; leave start out"
            )
        wanted, there = config.encoder, finished.config.encoder
        if replace(wanted, max_tokens=there.max_tokens) != there:
            raise ConfigError(
                f"model.encoder is that of {wanted.backbone!r}, and the run to start from has {there.backbone!r} of its own "
                "shape: give the same model.encoder (only max_tokens may differ), or leave start out"
            )
        encoder = finished.encoder
        encoder.limit(config.encoder.max_tokens)
        return System(config, encoder, seed=seed, objective=objective)

    def finish(self, examples: Examples) -> Iterator[str]:
        """Of ``mapped``: the maps of the exits, once the steps are done (mapped.py). Other variants have nothing left."""
        if self.config.variant == "mapped":
            yield from learn_maps(
                self.encoder,
                examples,
                began=self._began,
                config=self.config,
                objective=self.objective,
                dims=self.dims,
                seed=self.seed,
            )

    @staticmethod
    def baseline(
        config: Config, axes: ElasticAxes, examples: Examples, seed: int
    ) -> tuple[str, Representation] | None:
        """The closed form of the pretrained model that the encoder was, at the same sizes and from the same examples."""
        return closed_form_of(config, axes, examples, seed)

    def _exits(self) -> tuple[int, ...]:
        """Depths that training reaches: for the variants with a fixed plan those in it, else all."""
        if self.config.variant in ("ese", "starbucks"):
            return tuple(layer for layer in self.plan(0).layers if layer > 0)
        return self._depths()

    def _depths(self) -> tuple[int, ...]:
        """Those that may be drawn: where the encoder has maps, the depths that have one, 0 too."""
        mapped = self.encoder.exits is not None
        every = self.encoder.depths if mapped else tuple(range(1, self.encoder.num_layers + 1))
        return self.config.layers or every

    def plan(self, step: int) -> DepthWidthPlan:
        """The layers and prefixes of a step: n and d."""
        assert self.config.variant != "closed_form", "it takes no steps"
        return plan_step(
            self.config.variant,
            num_layers=self.encoder.num_layers,
            dims=self.dims,
            layers=self.config.layers if self.encoder.exits is None else self._depths(),
            seed=self.seed,
            step=step,
            compression_dim=self.dims[0] if self.config.variant == "ese" else None,
        )

    def embed(self, batch: Batch) -> dict[str, Float[Tensor, "batch width"]]:
        """X_n of each column at each layer of the step's plan, named ``column/n``, from one forward pass."""
        inputs = {name: batch[name] for name in COLUMNS if name in batch}
        exits = encode_columns(self.encoder, inputs, self.plan(batch["step"]).layers)
        return {f"{name}/{layer}": x for name, layers in exits.items() for layer, x in layers.items()}

    def loss_from(self, embeddings: dict[str, Tensor], batch: Batch) -> LossOutput:
        """L = L1 + L2 + L3, or what the variant has in their place (objective.py), at ``batch["step"]``.

        Its terms are ``layer_<n>_dim_<d>`` and ``kl_layer_<n>``.
        """
        plan, config = self.plan(batch["step"]), self.config
        columns = [name for name in COLUMNS if name in batch]
        return depth_width_loss(
            pair_loss(self.objective, batch, config.temperature),  # ℓ
            {layer: [embeddings[f"{name}/{layer}"] for name in columns] for layer in plan.layers},  # X_n, X_N
            plan,
            student_weight=config.student_weight,
            kl_weight=config.kl_weight,
            kl_temperature=config.kl_temperature,
            detach_teacher=config.detach_teacher,
            layer_weighting=config.layer_weighting or "uniform",
        )


def _check_mapped(config: Config, depths: tuple[int, ...]) -> None:
    """Refuses what cannot be trained of an encoder with maps behind the exits at ``depths``."""
    if config.variant not in _MAPPED:
        raise ConfigError(
            f"variant '{config.variant}' has depths of its own and does not start from an encoder with mapped exits; choose "
            f"one of {', '.join(_MAPPED)}"
        )
    if config.layers and not (set(config.layers) <= set(depths) and config.layers[-1] == depths[-1]):
        raise ConfigError(
            f"layers={list(config.layers)}: the run to start from has maps at {list(depths)} only"
        )
