"""Where the latents of a Neural Attentive Circuit are: signatures, the graph that they begin as, and the kernel of two.

Rahaman, Weiss, Locatello, Pal, Bengio, Schölkopf, Li, Ballas: Neural Attentive Circuits. NeurIPS 2022, arXiv 2210.08031.

| paper | here | shape | meaning |
|---|---|---|---|
| s_u | ``signatures[u]`` | (S,) | where latent u is; two are joined where they point the same way |
| d(u, v) | :func:`distances` | (U, V) | 1 − cos(s_u, s_v) |
| log K(u, v) | :func:`log_kernel` | (U, V) | −d/ε, −∞ beyond ``CUT`` |
| log P(u, v) | :func:`log_links` | (B, U, V) | log of a relaxed Bernoulli draw with probability K |

The paper divides P by its sum over the senders v. In the softmax over v, to whose logits log P is added, a number that all v
share makes no difference; it is left out.
Shape legend: B examples, U receivers, V senders, S dimensions of a signature.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import log2
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from brickwork.core.errors import ConfigError
from brickwork.core.seeding import generator_for

Prior = Literal["scale_free", "random", "planted_partition", "ring_of_cliques"]
CUT = 0.9  # no messages between latents that are further apart
JOINED = 0.8  # signatures are fitted so that those joined by an edge, and no others, are nearer
CLOSE = 0.4  # nearer ones push each other away
TEMPERATURE = 0.5  # of the relaxed Bernoulli draws
_STEPS, _LEARNING_RATE = 1000, 1e-3  # of the fit
_LEAST = 1e-7  # probabilities are kept this far from 0 and 1


def prior_graph(prior: Prior, nodes: int, seed: int) -> Bool[Tensor, "nodes nodes"]:
    """Which latents are joined, symmetric, none with itself.

    ``scale_free``: Barabási–Albert, two edges for each new node. ``random``: Erdős–Rényi, each edge with probability 0.1.
    ``planted_partition``: groups, edges with probability 0.9 inside and 0.2 between. ``ring_of_cliques``: groups in which
    all are joined, and the groups in a ring. 256 nodes are 8 groups of 32, as in the paper; other numbers in proportion.

    Raises:
        ConfigError: a number of nodes of which the graph cannot be made.
    """
    import networkx as nx

    if nodes < 3:
        raise ConfigError(f"a graph of {nodes} mediators has no structure: use at least 3")
    if prior == "scale_free":
        graph = nx.barabasi_albert_graph(nodes, 2, seed=seed)
    elif prior == "random":
        graph = nx.erdos_renyi_graph(nodes, 0.1, seed=seed)
    elif prior == "planted_partition":
        graph = nx.planted_partition_graph(*groups(nodes), 0.9, 0.2, seed=seed)
    else:
        graph = nx.ring_of_cliques(*groups(nodes))
    edges = torch.tensor(list(graph.edges), dtype=torch.int64).reshape(-1, 2)
    joined = torch.zeros(nodes, nodes, dtype=torch.bool)
    joined[edges[:, 0], edges[:, 1]] = True
    joined |= joined.T.clone()
    return joined.fill_diagonal_(False)


def groups(nodes: int) -> tuple[int, int]:
    """How many equal groups, of how many nodes: about half the root of ``nodes``.

    Raises:
        ConfigError: a prime number.
    """
    known = [count for count in range(2, nodes // 2 + 1) if nodes % count == 0]
    if not known:
        raise ConfigError(
            f"{nodes} mediators cannot be parted into equal groups: use another number, such as {nodes + 1}, or "
            "prior=scale_free"
        )
    wanted = log2(nodes) / 2 - 1
    count = min(known, key=lambda count: (round(abs(log2(count) - wanted), 9), -count))
    return count, nodes // count


@dataclass(frozen=True)
class Fit:
    """How well signatures draw a graph: pairs that are joined and near (``JOINED``), and that are neither."""

    edges: int
    near: int
    others: int
    far: int

    def __str__(self) -> str:
        return f"{self.near} of {self.edges} edges near, {self.far} of {self.others} other pairs far"


def fit_of(signatures: Float[Tensor, "nodes s"], joined: Bool[Tensor, "nodes nodes"]) -> Fit:
    """Pairs that are where they should be; each pair counts once."""
    upper = torch.ones_like(joined).triu(1)
    near = distances(signatures, signatures) < JOINED
    return Fit(
        edges=int((joined & upper).sum()),
        near=int((joined & near & upper).sum()),
        others=int((~joined & upper).sum()),
        far=int((~joined & ~near & upper).sum()),
    )


@lru_cache(maxsize=16)
def fitted_signatures(prior: Prior, nodes: int, dim: int, seed: int) -> Float[Tensor, "nodes s"]:
    """Signatures with which latents are near exactly where the graph joins them, as far as ``dim`` dimensions can hold it.

    From orthogonal vectors, by Adam on the hinge max(d, 0.8) of edges and max(−d, −0.8) of other pairs: they move just
    enough. The result is kept for the next call: copy it before it is changed.
    """
    joined = prior_graph(prior, nodes, seed)
    start = nn.init.orthogonal_(torch.empty(nodes, dim), generator=generator_for(seed, 0, "signatures"))
    with torch.enable_grad():
        signatures = start.requires_grad_()
        optimizer = torch.optim.Adam([signatures], lr=_LEARNING_RATE)
        sign = torch.where(joined, 1.0, -1.0)
        for _ in range(_STEPS):
            optimizer.zero_grad()
            hinge(signatures, sign).backward()
            optimizer.step()
    return signatures.detach()


def hinge(signatures: Float[Tensor, "nodes s"], sign: Float[Tensor, "nodes nodes"]) -> Float[Tensor, ""]:
    """Mean of max(±d, ±0.8), with the sign of each pair: 1 of an edge, −1 of another."""
    return torch.maximum(sign * distances(signatures, signatures), sign * JOINED).mean()


def distances(receivers: Float[Tensor, "u s"], senders: Float[Tensor, "v s"]) -> Float[Tensor, "u v"]:
    """1 − cos(s_u, s_v), from 0 to 2, as exact as the signatures are: in bf16 many links would be certain, and a certain
    one has no gradient."""
    with torch.autocast(receivers.device.type, enabled=False):
        return 1 - F.normalize(receivers, dim=-1) @ F.normalize(senders, dim=-1).T


def log_kernel(distance: Float[Tensor, "u v"], bandwidth: Float[Tensor, ""]) -> Float[Tensor, "u v"]:
    """−d/ε, and −∞ where d is beyond ``CUT``.

    The authors let the gradient pass through the cut. It is multiplied by exp(−∞) = 0 on its way, whether it comes from the
    softmax or from a draw; so a pair that is cut never comes back by it, here as there.
    """
    return (-distance.clamp(min=0) / bandwidth).masked_fill(distance > CUT, -torch.inf)


def log_links(
    log_k: Float[Tensor, "u v"], uniform: Float[Tensor, "batch u v"] | None
) -> Float[Tensor, "#batch u v"]:
    """log P: drawn for each example from a relaxed Bernoulli (Maddison et al., arXiv 1611.00712) of probability exp(log K);
    without ``uniform`` numbers from 0 to 1, log K itself."""
    if uniform is None:
        return log_k[None]
    cut = log_k.isinf()
    p = log_k.masked_fill(cut, -1.0).exp().clamp(_LEAST, 1 - _LEAST)
    noise = uniform.clamp(_LEAST, 1 - _LEAST).logit()
    return F.logsigmoid((p.logit() + noise) / TEMPERATURE).masked_fill(cut, -torch.inf)


def repulsion(signatures: Float[Tensor, "nodes s"]) -> Float[Tensor, ""]:
    """−Σ d over the pairs that are nearer than ``CLOSE``: what keeps latents from becoming the same."""
    distance = distances(signatures, signatures)
    close = (distance < CLOSE) & torch.ones_like(distance, dtype=torch.bool).triu(1)
    return -(distance * close).sum()
