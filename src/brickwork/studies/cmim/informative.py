"""The claims on informative embeddings: the decoder's states against the code, of images and of molecules."""

import copy
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from brickwork.studies.cmim.setups import (
    embed,
    images,
    molecules,
    principal,
    ridge_rmse,
    rows_of,
    train_objective,
)
from brickwork.studies.old import ClaimResult, Scale, Trained, Workbench, arm_cost, judge


def informative_images(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C6: Linear accuracy of h against μ of the same model, h cut to the width of μ by PCA; four objectives, two nulls."""
    from brickwork.evaluation.probes import linear_probe

    run = images(scale)
    arms = {name: train_objective(bench, run, seeds, name.lower()) for name in ("AE", "VAE", "MIM", "cMIM")}
    gains: list[list[float]] = []
    table = []
    for name, trained in arms.items():
        rows = [_informative(t, linear_probe) for t in trained]
        gains.append([r["h, PCA"] - r["μ"] for r in rows])
        table.append({"arm": name, **{key: round(fmean(r[key] for r in rows), 2) for key in rows[0]}})
    return judge(
        [fmean(values) for values in zip(*gains)],
        at_least=0.0,
        unit="points of linear accuracy, h (PCA to the width of μ) − μ, mean of four objectives",
        arms=[arm_cost(name, trained) for name, trained in arms.items()],
        table=table,
        note="A perceptron's h is a function of μ alone: it adds no information. Nulls: states of an untrained decoder "
        "on the same μ; principal components of the pixels.",
    )


def _informative(trained: Trained, probe: Any) -> dict[str, float]:
    import torch

    from brickwork.modules.image_decoder import ImageDecoder

    left, labels = rows_of(trained.data.train)
    right, wanted = rows_of(trained.data.test)
    system = trained.system
    mean = [embed(trained, x) for x in (left, right)]
    informative = [embed(trained, x, "informative") for x in (left, right)]
    torch.manual_seed(0)
    fresh = copy.copy(system)
    fresh._modules = dict(system._modules)
    fresh.decoder = ImageDecoder(system.decoder.config, system.latent_dim, system.decoder.image_shape)
    random = [fresh.informative(x, normalize=False) for x in (left, right)]
    pixels = [x.reshape(len(x), -1).astype("float32") for x in (left, right)]

    def accuracy(vectors: list[Any], dim: int | None = None) -> float:
        if dim is not None:
            cut = principal(vectors[0], dim)
            vectors = [cut(v) for v in vectors]
        return 100 * probe(vectors[0], labels, vectors[1], wanted).accuracy

    dim = system.latent_dim
    return {
        "μ": accuracy(mean),
        "h": accuracy(informative),
        "h, PCA": accuracy(informative, dim),
        "untrained decoder, PCA": accuracy(random, dim),
        "pixels, PCA": accuracy(pixels, dim),
    }


def informative_molecules(scale: Scale, seeds: Sequence[int], bench: Workbench) -> ClaimResult:
    """C7: Ridge RMSE of ESOL's solubility from h and from μ, dimension-matched, 5-fold; counts of tokens as the null."""
    import numpy as np
    import torch

    from brickwork.systems.cmim.smiles import load_property, tokens_of

    run = molecules(scale)
    smiles, values = load_property("esol")
    if scale == "smoke":
        smiles, values = smiles[:300], values[:300]
    names = sorted({token for text in smiles for token in tokens_of(text)})
    counts = np.asarray([[tokens_of(text).count(name) for name in names] for text in smiles], dtype=float)
    arms = {name: train_objective(bench, run, seeds, name.lower()) for name in ("AE", "VAE", "MIM", "cMIM")}
    gains: list[list[float]] = []
    table: list[dict[str, Any]] = []
    for name, trained in arms.items():
        rows = []
        for seed, t in zip(seeds, trained):
            mean, h = embed(t, smiles), embed(t, smiles, "informative")
            torch.manual_seed(seed)
            null = _untrained(t).informative(smiles, normalize=False)
            dim = t.system.latent_dim
            rows.append(
                {
                    "μ": ridge_rmse(mean, values, seed),
                    "h": ridge_rmse(h, values, seed),
                    "h, PCA": ridge_rmse(principal(h, dim)(h), values, seed),
                    "untrained, PCA": ridge_rmse(principal(null, dim)(null), values, seed),
                    "nll": fmean(t.system.predict({"input": t.data.test.columns["input"]})["nll"].tolist()),
                }
            )
        gains.append([100 * (1 - r["h, PCA"] / r["μ"]) for r in rows])
        table.append({"arm": name, **{key: round(fmean(r[key] for r in rows), 3) for key in rows[0]}})
    null_rmse = fmean(ridge_rmse(counts, values, seed) for seed in seeds)
    table.append({"arm": "counts of tokens", "μ": round(null_rmse, 3)})
    return judge(
        [fmean(values) for values in zip(*gains)],
        at_least=5.0,
        refuted_below=0.0,
        unit="% lower RMSE from h (PCA to the width of μ) than from μ, mean of four objectives",
        arms=[arm_cost(name, trained) for name, trained in arms.items()],
        table=table,
        note=f"Counts of tokens alone give {null_rmse:.2f} log units; the standard deviation of the property is "
        f"{values.std():.2f}. Random 5-fold split, not by scaffold. Learnt from the SMILES of ESOL itself, without labels, "
        "not from ZINC.",
    )


def _untrained(trained: Trained) -> Any:
    """The same architecture with fresh weights in both halves."""
    from brickwork.representation.contract import restore_system

    tokenizer = trained.system.encoder.tokenizer.to_str()
    return restore_system("cmim", trained.system.architecture(), tokenizer).eval()
