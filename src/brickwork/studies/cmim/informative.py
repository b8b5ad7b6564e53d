"""Informative embeddings: what can be read from the decoder's states and from the code, of images and of molecules."""

import copy
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from brickwork.studies.bench import Trained
from brickwork.studies.cmim.setups import embed, first_rows


def of_images(trained: Trained) -> dict[str, float]:
    """Linear accuracy in percent from μ, h, h cut to the width of μ, and two nulls: an untrained decoder's h, pixels."""
    import torch

    from brickwork.evaluation.probes import linear_probe

    system = trained.system
    torch.manual_seed(0)
    fresh = copy.copy(system)
    fresh._modules = {**system._modules, "decoder": system.build_decoder()}
    (train, labels), (test, test_labels) = (
        first_rows(part) for part in (trained.data.train, trained.data.test)
    )
    informative = [system.informative(x, normalize=False) for x in (train, test)]
    random = [fresh.informative(x, normalize=False) for x in (train, test)]
    pixels = [x.reshape(len(x), -1).astype("float32") for x in (train, test)]

    def accuracy(vectors: Sequence[np.ndarray]) -> float:
        return 100 * linear_probe(vectors[0], labels, vectors[1], test_labels).accuracy

    return {
        "μ": accuracy([embed(trained, x) for x in (train, test)]),
        "h": accuracy(informative),
        "h, PCA": accuracy(principal(informative, system.latent_dim)),
        "untrained decoder, PCA": accuracy(principal(random, system.latent_dim)),
        "pixels, PCA": accuracy(principal(pixels, system.latent_dim)),
    }


def of_molecules(trained: Trained, rows: int | None) -> dict[str, float]:
    """Ridge RMSE of ESOL's solubility (the first ``rows``) from μ, h, h cut to the width of μ, and an untrained h."""
    import torch

    from brickwork.representation.contract import restore_system

    system, seed = trained.system, trained.seed
    smiles, values = solubility(rows)
    h = system.informative(smiles, normalize=False)
    torch.manual_seed(seed)
    fresh = restore_system("cmim", system.architecture(), system.encoder.tokenizer.to_str()).eval()
    random = fresh.informative(smiles, normalize=False)
    return {
        "μ": ridge_rmse(embed(trained, smiles), values, seed),
        "h": ridge_rmse(h, values, seed),
        "h, PCA": ridge_rmse(principal([h], system.latent_dim)[0], values, seed),
        "untrained, PCA": ridge_rmse(principal([random], system.latent_dim)[0], values, seed),
        "nll": fmean(system.predict({"input": trained.data.test.columns["input"]})["nll"].tolist()),
    }


def token_counts_rmse(seeds: Sequence[int], rows: int | None) -> tuple[float, float]:
    """The null of ESOL: mean RMSE from counts of tokens; and the standard deviation of the property."""
    from sklearn.feature_extraction.text import CountVectorizer

    from brickwork.systems.cmim.smiles import tokens_of

    smiles, values = solubility(rows)
    counts = CountVectorizer(analyzer=tokens_of).fit_transform(smiles).toarray().astype(float)
    return fmean(ridge_rmse(counts, values, seed) for seed in seeds), float(values.std())


def solubility(rows: int | None) -> tuple[list[str], np.ndarray]:
    """The (first ``rows``) molecules of ESOL and their property."""
    from brickwork.systems.cmim.smiles import load_property

    smiles, values = load_property("esol")
    return smiles[:rows], values[:rows]


def principal(vectors: Sequence[np.ndarray], dim: int) -> list[np.ndarray]:
    """The vectors brought to ``dim`` dimensions: the principal components of the first array."""
    from sklearn.decomposition import PCA

    components = PCA(min(dim, *vectors[0].shape), random_state=0).fit(vectors[0])
    return [components.transform(array) for array in vectors]


def ridge_rmse(vectors: np.ndarray, values: np.ndarray, seed: int) -> float:
    """Root mean square error of ridge regression on standardised vectors, 5-fold, strength chosen inside each fold."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    folds = KFold(5, shuffle=True, random_state=seed)
    return float(np.sqrt(np.square(cross_val_predict(model, vectors, values, cv=folds) - values).mean()))
