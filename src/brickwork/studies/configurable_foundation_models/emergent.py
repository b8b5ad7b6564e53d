"""What is measured of the bricks that emerged in a language model: one of ours trained on seven domains, or SmolLM2."""

from dataclasses import replace

import numpy as np
import torch

from brickwork.modules.ffn_split import random_groups
from brickwork.studies.bench import Trained
from brickwork.studies.study import Lab
from brickwork.systems.configurable_foundation_models.config import BricksConfig, Emergent, OwnBase
from brickwork.systems.configurable_foundation_models.data import Data
from brickwork.systems.configurable_foundation_models.emergent import EmergentBricks
from brickwork.systems.configurable_foundation_models.erasing import INDICATORS, SHARES
from brickwork.systems.configurable_foundation_models.partition import enrichment, share_of_experts
from brickwork.systems.configurable_foundation_models.recipes import OWN_BASE, smoke
from brickwork.systems.configurable_foundation_models.recipes import emergent as published
from brickwork.training.config import Stage, TrainConfig
from brickwork.training.run import RunConfig

_TEXTS = {"smoke": 40, "small": 100}
_CONTEXT = {"smoke": 32, "small": 128}
_QUANTILE = 0.995


def run_of(lab: Lab) -> RunConfig:
    """A base of ours, with the bricks that the other claims train (smoke) or without; at scale ``gpu`` SmolLM2-135M."""
    if lab.scale == "smoke":
        return smoke()
    if lab.scale == "gpu":
        run = published()
        return replace(run, model=replace(run.model, find=Emergent(texts=16, nulls=1)))
    return RunConfig(
        model=BricksConfig(base=OwnBase(width=128, num_layers=4, hidden=512), context=96),
        data=Data(source="seven-domains", limit=360, max_passage_words=60, max_held_out=140),
        train=TrainConfig(
            steps=1000, batch_size=16, learning_rate=2e-3, precision="fp32", save_every=0, validate_every=0
        ),
        stages=(Stage(name="base", trains=OWN_BASE),),
    )


def find(trained: Trained, scale: str) -> EmergentBricks:
    """The emergent bricks of a model that was trained, or what a run of theirs found; once for a model."""
    return trained.measured(_find, scale)


def _find(trained: Trained, scale: str) -> EmergentBricks:
    if isinstance(trained.system, EmergentBricks):
        return trained.system
    config = BricksConfig(base="ours", context=_CONTEXT[scale], find=Emergent(texts=_TEXTS[scale]))
    found = EmergentBricks.of(trained.system.encoder, config, trained.system.domains, trained.seed)
    for _ in found.fit(trained.data.train, start=0):
        pass
    return found


def thinned(trained: Trained, scale: str) -> dict[tuple[str, float], float]:
    """Rise of the loss, nats per token, by indicator and share of neurons left out."""
    thin = find(trained, scale).thin
    return {
        (by, share): float(thin[row, column])
        for row, by in enumerate(INDICATORS)
        for column, share in enumerate(SHARES)
    }


def specialists(trained: Trained, scale: str) -> dict[str, float]:
    """Functional scores beside their prior, their layer's mean and quantile, and what shuffled labels give."""
    found = find(trained, scale)
    score, prior = found.score, 1 / len(found.domains)
    best = score.amax((1, 2))
    layer_best = score.amax(2)
    quantile = torch.from_numpy(np.quantile(score.numpy(), _QUANTILE, axis=2))
    return {
        "best": float(best.mean()),
        "best by chance": float(found.null_best.amax(1).mean()),
        "prior": prior,
        "domains with a specialist": float((best >= prior + 0.25).float().mean()),
        "layers: best above chance": float((layer_best - found.null_best).mean()),
        "layers: best above the quantile": float((layer_best > quantile).float().mean()),
        "layers: mean off chance": float((score.mean((0, 2)) - found.null_mean.mean(0)).abs().max()),
    }


def erased(trained: Trained, scale: str) -> dict[str, float]:
    """Efficacy and locality of erasing domains, in % of perplexity."""
    return find(trained, scale).locality()


def cells(trained: Trained, scale: str) -> dict[tuple[str, str], float]:
    """The matrix: rise of perplexity in % of a domain (second) without the neurons of a row (first)."""
    found = find(trained, scale)
    matrix = found.matrix()
    return {
        (row, name): float(matrix[place, column])
        for place, row in enumerate(found.rows())
        for column, name in enumerate(found.domains)
    }


def shared(trained: Trained, scale: str) -> dict[str, float]:
    """How much the bricks of two domains have in common."""
    found = find(trained, scale)
    pairs = np.triu_indices(len(found.domains), 1)
    own, chance = found.overlaps().numpy()[pairs], found.overlaps(by_chance=True).numpy()[pairs]
    return {
        "pairs at most at chance": float((own <= found.find.share).mean()),
        "overlap": float(own.mean()),
        "overlap of shuffled labels": float(chance.mean()),
        "overlap of labels shuffled together": float(found.null_overlap.numpy()[pairs].mean()),
        "chance": found.find.share,
    }


def gathered(trained: Trained, scale: str) -> dict[str, float]:
    """The share of groups that are functional experts: groups of similar keys, and groups by chance."""
    found = find(trained, scale)
    layers, neurons = found.shape
    groups = found.find.groups
    chance = torch.stack(
        [random_groups(neurons, groups, 100 * trained.seed + layer) for layer in range(layers)]
    )
    return {
        "similar keys": share_of_experts(enrichment(found.score, found.groups, groups)),
        "random groups": share_of_experts(enrichment(found.score, chance, groups)),
    }
