"""Groups of neurons with similar keys, and whether the specialists of a domain lie together in some of them.

    n_e ~ Hypergeometric(M, M/E, n)    neurons of group e among the n best of a domain, if they lay anywhere

A group is a functional expert of a domain where P(n_e or more) < p; by chance a share of at most p is. Zhang et al.,
Emergent Modularity in Pre-trained Transformers, arXiv 2305.18390.

Shape legend: L layers, M neurons of a layer, F domains, E groups.
"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

P_VALUE = 0.001
BEST = 0.01
"""The share of a layer's neurons that are its best."""


def enrichment(
    scores: Float[Tensor, "domains layers neurons"], labels: Int64[Tensor, "layers neurons"], groups: int
) -> Float[np.ndarray, "domains layers groups"]:
    """P(n_e or more) of each group, for the best 1 % of each layer's neurons."""
    from scipy.stats import hypergeom

    domains, layers, neurons = scores.shape
    best = max(1, round(BEST * neurons))
    chosen = scores.topk(best, dim=2).indices
    own = labels[None].expand(domains, -1, -1).gather(2, chosen)
    counts = torch.zeros(domains, layers, groups, dtype=torch.int64).scatter_add_(
        2, own, torch.ones_like(own)
    )
    return hypergeom.sf(counts.numpy() - 1, neurons, neurons // groups, best)


def share_of_experts(p_values: Float[np.ndarray, "domains layers groups"]) -> float:
    """The share of groups that are functional experts, mean over domains and layers."""
    return float((p_values < P_VALUE).mean())
