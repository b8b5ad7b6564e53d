"""Members that learn without labels: SimCLR on the images of the classes that are not new."""

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from brickwork.core.seeding import generator_for, seed_everything
from brickwork.core.types import Batch, LossOutput
from brickwork.data.augment import Augmentation, two_views
from brickwork.encoders.joined import join
from brickwork.modules.mlp import mlp
from brickwork.objectives.self_supervised import simclr
from brickwork.representation.contract import build_encoder
from brickwork.studies.bench import Bench, Trained
from brickwork.studies.rich_representations.setups import source
from brickwork.studies.study import Lab

MEMBERS = 3
_VIEWS = Augmentation(crop=0.3, flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, grey=0.2)
_GREY_VIEWS = Augmentation(crop=0.5, rotate=15.0, brightness=0.2, contrast=0.2)


class Contrastive(nn.Module):
    """An encoder and a projector that are trained to find the other view of an image."""

    def __init__(self, encoder: Any, views: Augmentation, seed: int):
        super().__init__()
        self.encoder, self.views, self.seed = encoder, views, seed
        dim = encoder.embedding_dim
        self.projector = mlp((dim, dim, dim))

    def collate(self, columns: dict[str, Any]) -> Batch:
        """Images as the encoder takes them."""
        batch: Batch = self.encoder.collate({"input": columns["input"]})
        return batch

    def loss(self, batch: Batch) -> LossOutput:
        """NT-Xent of two views of each image (Chen et al. 2020)."""
        images = (batch["input"] + 1) / 2
        first, second, _ = two_views(
            images, self.views, seed=self.seed, step=batch["step"], rows=list(batch["indices"])
        )
        a, b = (self._vectors(view) for view in (first, second))
        return LossOutput.of({"simclr": simclr(a, b, temperature=0.2)})

    def _vectors(self, view: Tensor) -> Tensor:
        z: Tensor = self.encoder((2 * view - 1).float())[1]
        projected: Tensor = self.projector(z)
        return projected


class Joined(nn.Module):
    """Several such encoders, as the measures take them."""

    def __init__(self, encoders: list[Any], classes: tuple[str, ...]):
        super().__init__()
        self.members, self.classes = join(encoders), classes


def contrastive_members(lab: Lab, seed: int) -> Trained:
    """The members of one seed, trained one after the other, each as long as a member that learns from labels."""
    bench: Bench = lab.bench
    run = source(lab.scale)
    data = bench.data(run)

    def train() -> Trained:
        views = _VIEWS if np.asarray(data.train.columns["input"]).shape[3] == 3 else _GREY_VIEWS
        config = replace(run.train, steps=run.train.steps // run.model.count, weight_decay=1e-4)
        fitted = []
        for place in range(MEMBERS):
            own = generator_for(seed, place, "unlabelled").initial_seed()
            seed_everything(own)
            bench.progress(f"SimCLR, member {place + 1}, seed {seed}")
            system = Contrastive(build_encoder(run.model, data), views, own)
            fitted.append(bench.fit(system, data.train, config, own))
        encoders = [one.system.encoder for one in fitted]
        return replace(
            fitted[0],
            system=Joined(encoders, data.class_names).eval(),
            data=data,
            seed=seed,
            examples=sum(one.examples for one in fitted),
            seconds=sum(one.seconds for one in fitted),
            trainings=MEMBERS,
        )

    return bench.memo(("unlabelled", repr(run), seed), train)
