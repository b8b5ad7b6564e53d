"""Latent-variable models of points: a mixture of Gaussians, MLPs, Gaussian decoder. For the claim on collapse.

The one place where MIM's symmetric form is trained: half of its samples come from the decoder, through which gradients flow.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from brickwork.modules.latent import posterior
from brickwork.studies.bench import Bench, Trained
from brickwork.systems.cmim.objective import (
    asymmetric_mim,
    expected_log_posterior,
    expected_log_prior,
    log_normal,
    log_standard_normal,
)

Kind = Literal["MIM", "A-MIM", "VAE", "AE"]
_FLOOR = -3.0  # log σ of code and point
_WIDTH, _BATCH, _RATE = 64, 128, 2e-3
_TRAIN_ROWS = 2000


def mixture(
    rows: int, seed: int, *, dims: int = 20, parts: int = 5
) -> tuple[Float[Tensor, "rows dims"], Int[np.ndarray, " rows"]]:
    """Points around ``parts`` centres drawn from N(0, I), with spread 0.5, and which centre each is from."""
    centres = torch.randn(parts, dims, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed + 1)
    part = torch.randint(parts, (rows,), generator=generator)
    return centres[part] + 0.5 * torch.randn(rows, dims, generator=generator), part.numpy()


def _mlp(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, _WIDTH), nn.Tanh(), nn.Linear(_WIDTH, _WIDTH), nn.Tanh(), nn.Linear(_WIDTH, outputs)
    )


class PointModel(nn.Module):
    """q(z|x) and p(x|z), both Gaussian with a spread for each dimension, and the objective that trains them."""

    def __init__(self, dims: int, latent_dim: int, kind: Kind):
        super().__init__()
        self.kind: Kind = kind
        self.latent_dim = latent_dim
        self.encoder, self.decoder = _mlp(dims, 2 * latent_dim), _mlp(latent_dim, 2 * dims)

    def nll(self, z: Float[Tensor, "batch dim"], x: Float[Tensor, "batch dims"]) -> Float[Tensor, " batch"]:
        """−log p(x|z)."""
        p = posterior(self.decoder(z), _FLOOR)
        return -log_normal(x, p.mean, p.log_sigma)

    def loss(self, x: Float[Tensor, "batch dims"]) -> Float[Tensor, ""]:
        """The objective on one batch."""
        q = posterior(self.encoder(x), _FLOOR)
        z = q.mean if self.kind == "AE" else q.at(torch.randn_like(q.mean))
        nll = self.nll(z, x)
        log_q, log_prior = expected_log_posterior(q.log_sigma), expected_log_prior(q.mean, q.log_sigma)
        if self.kind == "AE":
            return nll.mean()
        if self.kind == "VAE":
            return (nll + log_q - log_prior).mean()
        if self.kind == "A-MIM":
            return asymmetric_mim(nll, log_q, log_prior)
        code = torch.randn_like(z)  # the decoder's half of the mixture: z ~ P(z), x ~ p(x|z)
        p = posterior(self.decoder(code), _FLOOR)
        point = p.at(torch.randn_like(p.mean))
        back = posterior(self.encoder(point), _FLOOR)
        decoded = asymmetric_mim(
            self.nll(code, point), log_normal(code, back.mean, back.log_sigma), log_standard_normal(code)
        )
        return (asymmetric_mim(nll, log_q, log_prior) + decoded) / 2


def fit_points(
    points: Float[Tensor, "rows dims"], kind: Kind, latent_dim: int, *, steps: int, seed: int
) -> PointModel:
    """A model trained with Adam; every objective gets the same batches and steps."""
    torch.manual_seed(seed)
    model = PointModel(points.shape[1], latent_dim, kind)
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(points), (_BATCH,), generator=generator)
        loss = model.loss(points[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


@torch.no_grad()
def codes_of(model: PointModel, points: Float[Tensor, "rows dims"], seed: int) -> Float[np.ndarray, "rows d"]:
    """What the information is measured of: a sample of q(z|x) for each point; of an auto-encoder its mean, since nothing
    trains the spread."""
    q = posterior(model.encoder(points), _FLOOR)
    if model.kind == "AE":
        return q.mean.numpy()
    noise = torch.randn(q.mean.shape, generator=torch.Generator().manual_seed(seed))
    return q.at(noise).numpy()


# ---- an arm of the claim on collapse ---------------------------------------------------------------------------


def points(bench: Bench, kind: Kind, latent_dim: int, steps: int) -> Callable[[int], Trained]:
    """Seed → a model of 2000 points, trained on the bench."""

    def train(seed: int) -> Trained:
        train_points, _ = mixture(_TRAIN_ROWS, seed)
        return bench.own_loop(
            ("points", kind, latent_dim),
            lambda taken: fit_points(train_points, kind, latent_dim, steps=taken, seed=seed),
            steps=steps,
            batch_size=_BATCH,
            seed=seed,
        )

    return train


def point_scores(trained: Trained) -> dict[str, float]:
    """Of 1000 unseen points: KSG information between point and code, and 5-NN accuracy of codes in percent."""
    from brickwork.evaluation.codes import ksg_information
    from brickwork.evaluation.probes import knn_probe

    train, labels = mixture(_TRAIN_ROWS, trained.seed)
    test, test_labels = mixture(1000, trained.seed + 100)
    train_codes, codes = (codes_of(trained.system, part, trained.seed) for part in (train, test))
    return {
        "I(x; z)": ksg_information(test.numpy(), codes),
        "5-NN": 100 * knn_probe(train_codes, labels, codes, test_labels, k=5).accuracy,
    }
