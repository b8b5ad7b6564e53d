"""Objectives of latent-variable models as one expression over a few terms: AE, VAE, MIM, cMIM, InfoNCE and their sums.

A model has an encoder q(z|x) = N(μ, diag σ²), a decoder p(x|z) and the anchor P(z) = N(0, I). With the terms

    nll = −log p(x|z)     log_q = log q(z|x)     log_prior = log P(z)     self = −log p(k=1|x,z)
    info_nce, with another sample of the same code to find     info_nce_views, with the code of a changed x to find

every objective here is a weighted sum (:data:`OBJECTIVES`). AE, VAE: Kingma & Welling 2014. MIM: Livne, Swersky, Fleet
2019 (arXiv 1910.03175), in its asymmetric form A-MIM (Livne et al. 2020, arXiv 2003.02645). cMIM: Livne 2025 (arXiv
2502.19642, 2509.21511). Note the sign of log_q: a VAE pays for a narrow posterior, MIM is paid for one, so that its
loss has no lower bound unless σ has one (:func:`brickwork.modules.latent.posterior`).

Shape legend: B rows, D latent dimensions.
"""

import math
import re
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.core.config import nearest
from brickwork.core.errors import ConfigError
from brickwork.core.types import LossOutput

TERMS = ("nll", "log_q", "log_prior", "self", "info_nce", "info_nce_views")
OBJECTIVES: dict[str, dict[str, float]] = {
    "ae": {"nll": 1.0},
    "vae": {"nll": 1.0, "log_q": 1.0, "log_prior": -1.0},
    "mim": {"nll": 1.0, "log_q": -0.5, "log_prior": -0.5},
    "cmim": {"nll": 1.0, "log_q": -0.5, "log_prior": -0.5, "self": 1.0},
}
_LEARNT = ("nll", "self", "info_nce", "info_nce_views")
_LOG_2PI = math.log(2 * math.pi)
_PART = re.compile(r"\s*([+-]?)\s*(?:(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*\*\s*)?([A-Za-z_]+)\s*")


def parse_objective(expression: str) -> dict[str, float]:
    """The weight of each term in a sum of objectives and terms, such as ``cmim``, ``mim + 2*self``, ``vae + 0.5*info_nce``.

    Raises:
        ConfigError: it cannot be read, an unknown name (the nearest is named), or weights under which nothing can be learnt.
    """
    names = [*OBJECTIVES, *TERMS]
    weights: dict[str, float] = {}
    place = 0
    while place < len(expression) or not weights:
        part = _PART.match(expression, place)
        if part is None or (place > 0 and not part[1]):
            raise ConfigError(
                f"objective {expression!r} cannot be read from {expression[place:]!r} on; write a sum such as "
                f"'mim + 0.5*info_nce' of: {', '.join(names)}"
            )
        sign, number, name = part.groups()
        if name not in names:
            raise ConfigError(f"objective {expression!r}: '{name}' is no term: {nearest(name, names)}")
        factor = (-1.0 if sign == "-" else 1.0) * float(number or 1)
        for term, weight in OBJECTIVES.get(name, {name: 1.0}).items():
            weights[term] = weights.get(term, 0.0) + factor * weight
        place = part.end()
    weights = {term: weights[term] for term in TERMS if weights.get(term)}
    wrong = [term for term in _LEARNT if weights.get(term, 0.0) < 0]
    if weights.get("log_prior", 0.0) > 0:
        wrong.append("log_prior")
    if wrong or not set(weights) & set(_LEARNT):
        why = f"rewards a bad {wrong[0]}" if wrong else "asks nothing of the codes but their spread"
        raise ConfigError(
            f"objective {expression!r} {why}: its weights are {weights}; start from one of {list(OBJECTIVES)}"
        )
    return weights


def latent_loss(
    terms: Mapping[str, Float[Tensor, ""]],
    weights: Mapping[str, float],
    stats: Mapping[str, float | Tensor] | None = None,
) -> LossOutput:
    """The objective whose ``weights`` :func:`parse_objective` gave; ``terms`` are means over the batch.

    Maths: L = Σ_t w_t·t; for ``cmim``, L_A-cMIM = −log p(x|z) + ℓ_c − ½ [log q(z|x) + log P(z)].
    """
    return LossOutput.of({name: terms[name] for name in weights}, weights, stats)


def log_normal(
    z: Float[Tensor, "batch dim"], mean: Float[Tensor, "batch dim"], log_sigma: Float[Tensor, "batch dim"]
) -> Float[Tensor, " batch"]:
    """log N(z; mean, diag σ²), summed over dimensions."""
    return -(0.5 * ((z - mean) * torch.exp(-log_sigma)).square() + log_sigma + 0.5 * _LOG_2PI).sum(1)


def log_standard_normal(z: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """log N(z; 0, I)."""
    return -0.5 * (z.square() + _LOG_2PI).sum(1)


def expected_log_posterior(log_sigma: Float[Tensor, "batch dim"]) -> Float[Tensor, " batch"]:
    """E_q[log q(z|x)], in closed form: minus the posterior's entropy.

    Maths: −½ Σ_d (1 + log 2π + 2 log σ_d). A sampled log q has this mean and the same gradient for σ.
    """
    return -0.5 * (1 + _LOG_2PI + 2 * log_sigma).sum(1)


def expected_log_prior(
    mean: Float[Tensor, "batch dim"], log_sigma: Float[Tensor, "batch dim"]
) -> Float[Tensor, " batch"]:
    """E_q[log P(z)], in closed form.

    Maths: −½ Σ_d (μ_d² + σ_d² + log 2π). With :func:`expected_log_posterior`, E[log q] − E[log P] = KL(q‖P).
    """
    return -0.5 * (mean.square() + torch.exp(2 * log_sigma) + _LOG_2PI).sum(1)


def asymmetric_mim(
    nll: Float[Tensor, " batch"], log_q: Float[Tensor, " batch"], log_prior: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """A-MIM of given samples, of which half may come from the decoder: then it is the symmetric MIM.

    Maths: mean of −log p(x|z) − ½ [log q(z|x) + log P(z)], from −½ E[log p(x|z) + log P(z) + log q(z|x) + log q(x)] with
    the marginal bounded by one term of its mixture, q(x) ≥ p(x|z)/N; the constant ½ log N is left out.
    """
    return (nll - 0.5 * (log_q + log_prior)).mean()
