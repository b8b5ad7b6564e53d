"""How alike two networks are by what they call alike: representational similarity analysis (RSA)."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from brickwork.evaluation.similarity import spearman
from brickwork.studies.bench import Trained
from brickwork.studies.feature_bias.setups import a_run
from brickwork.studies.study import Arms, Lab
from brickwork.training.config import Stage
from brickwork.training.run import RunConfig

_INPUTS = 300


def one_and_both(lab: Lab) -> Arms:
    """Networks of one shape that learn both features, the easy one alone, and the hard one alone."""
    run = a_run(lab)
    return lab.arms({"both": run, "easy": _only(run, 0), "hard": _only(run, 1)})


def _only(run: RunConfig, place: int) -> RunConfig:
    """The feature at ``place`` alone, from the first step to the last."""
    model = replace(run.model, first=place, control=False, watch=0)
    return replace(run, model=model, stages=(Stage(name="first"),))


def likeness(arms: Mapping[str, Trained]) -> dict[str, float]:
    """Of two kinds of networks (``both, easy`` …) rank correlation of their distances between the same inputs, at the last
    layer: mean over pairs of networks that began with other weights. ``accuracy``: the least of what was to be learnt."""
    kept = {name: trained.measured(_distances) for name, trained in arms.items()}
    result = {"accuracy": min(_accuracy(trained, name) for name, trained in arms.items())}
    for one, other in (("both", "easy"), ("both", "hard"), ("both", "both"), ("easy", "hard")):
        pairs = [
            spearman(kept[one][a], kept[other][b])
            for a in range(len(kept[one]))
            for b in range(len(kept[other]))
            if a != b  # networks of one place and seed begin with the same weights
        ]
        result[f"{one}, {other}"] = float(np.mean(pairs))
    return result


def _accuracy(trained: Trained, name: str) -> float:
    of_features = trained.system.accuracy(trained.data.test).mean(0)
    return float({"both": of_features.min(), "easy": of_features[0], "hard": of_features[-1]}[name])


@torch.no_grad()
def _distances(trained: Trained) -> Float[np.ndarray, "replicas pairs"]:
    """Euclidean distances between inputs. Bits are given by role, not by place: each network has an order of its own."""
    from scipy.spatial.distance import pdist

    system = trained.system
    roles = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (_INPUTS, system.bits))).bool()
    _, _, hidden = system.banks["task"](roles.expand(system.config.replicas, -1, -1))
    return np.stack([pdist(phi) for phi in hidden[-1].double().numpy()])
