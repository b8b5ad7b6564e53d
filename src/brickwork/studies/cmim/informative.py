"""Informative embeddings: what can be read from the decoder's states and from the code, of images and of molecules."""

import copy
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from brickwork.studies.bench import Trained
from brickwork.studies.cmim.setups import embed, first_rows

if TYPE_CHECKING:
    import numpy as np


def of_images(trained: Trained) -> dict[str, float]:
    """Linear accuracy in percent from μ, h, h cut to the width of μ, and two nulls: an untrained decoder's h, pixels."""
    import torch

    from brickwork.evaluation.probes import linear_probe
    from brickwork.modules.image_decoder import ImageDecoder

    left, labels = first_rows(trained.data.train)
    right, wanted = first_rows(trained.data.test)
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
        return 100 * linear_probe(vectors[0], labels, vectors[1], wanted).accuracy

    dim = system.latent_dim
    return {
        "μ": accuracy(mean),
        "h": accuracy(informative),
        "h, PCA": accuracy(informative, dim),
        "untrained decoder, PCA": accuracy(random, dim),
        "pixels, PCA": accuracy(pixels, dim),
    }


def of_molecules(trained: Trained, rows: int | None) -> dict[str, float]:
    """Ridge RMSE of ESOL's solubility (the first ``rows``) from μ, h, h cut to the width of μ, and an untrained h."""
    import torch

    from brickwork.systems.cmim.smiles import load_property

    smiles, values = load_property("esol")
    smiles, values = smiles[:rows], values[:rows]
    mean, h = embed(trained, smiles), embed(trained, smiles, "informative")
    torch.manual_seed(trained.seed)
    null = _untrained(trained).informative(smiles, normalize=False)
    dim = trained.system.latent_dim
    return {
        "μ": ridge_rmse(mean, values, trained.seed),
        "h": ridge_rmse(h, values, trained.seed),
        "h, PCA": ridge_rmse(principal(h, dim)(h), values, trained.seed),
        "untrained, PCA": ridge_rmse(principal(null, dim)(null), values, trained.seed),
        "nll": fmean(trained.system.predict({"input": trained.data.test.columns["input"]})["nll"].tolist()),
    }


def token_counts_rmse(seeds: Sequence[int], rows: int | None) -> tuple[float, float]:
    """The null of ESOL: mean RMSE from counts of tokens; and the standard deviation of the property."""
    import numpy as np

    from brickwork.systems.cmim.smiles import load_property, tokens_of

    smiles, values = load_property("esol")
    smiles, values = smiles[:rows], values[:rows]
    names = sorted({token for text in smiles for token in tokens_of(text)})
    counts = np.asarray([[tokens_of(text).count(name) for name in names] for text in smiles], dtype=float)
    return fmean(ridge_rmse(counts, values, seed) for seed in seeds), float(values.std())


def _untrained(trained: Trained) -> Any:
    """The same architecture with fresh weights in both halves."""
    from brickwork.representation.contract import restore_system

    tokenizer = trained.system.encoder.tokenizer.to_str()
    return restore_system("cmim", trained.system.architecture(), tokenizer).eval()


def principal(train: "np.ndarray", dim: int) -> Any:
    """A function that brings vectors to ``dim`` dimensions: the principal components of ``train``."""
    from sklearn.decomposition import PCA

    fitted = PCA(min(dim, *train.shape), random_state=0).fit(train)
    return fitted.transform


def ridge_rmse(vectors: "np.ndarray", values: "np.ndarray", seed: int) -> float:
    """Root mean square error of ridge regression on standardised vectors, 5-fold, strength chosen inside each fold."""
    import numpy as np
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    folds = KFold(5, shuffle=True, random_state=seed)
    return float(np.sqrt(np.square(cross_val_predict(model, vectors, values, cv=folds) - values).mean()))
