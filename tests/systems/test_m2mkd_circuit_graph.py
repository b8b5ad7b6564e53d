"""Graph priors against closed forms, signatures against the graph, kernel and draws against torch's own distributions."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch.distributions import RelaxedBernoulli

from brickwork.core.errors import ConfigError
from brickwork.systems.m2mkd.circuit_graph import (
    CUT,
    TEMPERATURE,
    distances,
    fit_of,
    fitted_signatures,
    groups,
    hinge,
    log_kernel,
    log_links,
    prior_graph,
    repulsion,
)

PRIORS = ("scale_free", "random", "planted_partition", "ring_of_cliques")


@pytest.mark.parametrize("prior", PRIORS)
def test_graphs_are_symmetric_without_loops_and_a_function_of_the_seed(prior):
    graph = prior_graph(prior, 24, 3)
    assert torch.equal(graph, graph.T)
    assert not graph.diagonal().any()
    assert torch.equal(graph, prior_graph(prior, 24, 3))
    assert torch.equal(graph, prior_graph(prior, 24, 4)) == (prior == "ring_of_cliques")


def test_degrees_of_each_prior():
    # Barabási–Albert with m=2: each node after the first three brings two edges, and the start is a star of two.
    assert prior_graph("scale_free", 32, 0).sum() == 2 * 2 * (32 - 2)
    # A ring of l cliques of k: l·k(k−1)/2 edges inside, l between.
    assert groups(32) == (4, 8)
    assert prior_graph("ring_of_cliques", 32, 0).sum() == 2 * (4 * 28 + 4)
    # Means over many seeds, within four standard errors of the expectation.
    n, pairs, seeds = 20, 190, range(200)
    edges = np.array([prior_graph("random", n, seed).sum().item() / 2 for seed in seeds])
    assert abs(edges.mean() - 0.1 * pairs) < 4 * np.sqrt(pairs * 0.09 / len(seeds))
    inside = torch.block_diag(*[torch.ones(8, 8)] * 4).bool() & ~torch.eye(32, dtype=torch.bool)
    planted = torch.stack([prior_graph("planted_partition", 32, seed) for seed in range(50)]).float().mean(0)
    assert abs(planted[inside].mean() - 0.9) < 0.02
    assert abs(planted[~inside & ~torch.eye(32, dtype=torch.bool)].mean() - 0.2) < 0.02


def test_sizes_of_groups_are_those_of_the_paper_in_proportion():
    assert groups(256) == (8, 32)
    for count in (16, 24, 32, 48, 64, 100):
        many, each = groups(count)
        assert many * each == count
        assert many >= 2
        assert each >= 2


def test_graphs_that_cannot_be_made_are_refused():
    with pytest.raises(ConfigError, match="23 mediators cannot be parted"):
        prior_graph("ring_of_cliques", 23, 0)
    with pytest.raises(ConfigError, match="at least 3"):
        prior_graph("scale_free", 2, 0)


@pytest.mark.parametrize("prior", PRIORS)
def test_signatures_draw_the_graph(prior):
    joined = prior_graph(prior, 16, 1)
    signatures = fitted_signatures(prior, 16, 12, 1)
    fit = fit_of(signatures, joined)
    assert fit.edges == nx.from_numpy_array(joined.numpy()).number_of_edges()
    assert (fit.near, fit.far) == (fit.edges, fit.others), str(fit)
    untrained = fit_of(torch.randn(16, 12, generator=torch.Generator().manual_seed(0)), joined)
    assert untrained.near + untrained.far < fit.edges + fit.others


def test_hinge_of_pairs_by_hand():
    s = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])  # distances 1, 2, 1
    sign = torch.tensor([[-1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [-1.0, -1.0, -1.0]])
    # edge at 1: 1; other pairs at 2 and 1: −2, −1, but no more than −0.8 is wanted: −0.8 each; itself at 0: 0 > −0.8.
    assert torch.allclose(hinge(s, sign), torch.tensor((2 * 1 - 2 * 0.8 - 2 * 0.8 + 0.0) / 9))


def test_kernel_is_cut():
    s = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    log_k = log_kernel(distances(s, s), torch.tensor(0.5, dtype=torch.float64))
    expected = torch.tensor([[0.0, -0.8, -torch.inf], [-0.8, 0.0, -0.4], [-torch.inf, -0.4, 0.0]])
    assert torch.allclose(log_k, expected.double())


def test_draws_are_those_of_torchs_relaxed_bernoulli():
    torch.manual_seed(0)
    distance = torch.rand(5, 7, dtype=torch.float64) * 0.85 + 0.02
    log_k = log_kernel(distance, torch.tensor(1.0, dtype=torch.float64))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = RelaxedBernoulli(torch.tensor(TEMPERATURE).double(), probs=log_k.exp()).rsample((4,)).log()
        torch.manual_seed(5)
        uniform = torch.rand(4, 5, 7, dtype=torch.float64)
    assert torch.allclose(log_links(log_k, uniform), theirs, atol=1e-9)


def test_what_is_cut_stays_cut_and_gives_finite_gradients():
    bandwidth = torch.tensor(1.0, requires_grad=True)
    distance = torch.tensor([[0.0, 0.5, 0.95]], requires_grad=True)
    drawn = log_links(log_kernel(distance, bandwidth), torch.full((2, 1, 3), 0.4))
    assert drawn[..., 2].isinf().all()
    assert drawn[..., :2].isfinite().all()
    drawn.softmax(-1)[..., 1].sum().backward()
    assert distance.grad.isfinite().all()
    assert bandwidth.grad.isfinite()
    assert distance.grad[0, 2] == 0
    assert distance.grad[0, 1] != 0


def test_a_gradient_passed_straight_through_the_cut_is_zero_anyway():
    # The authors' way: add the constant that makes the cut distance infinite, and let the gradient pass.
    distance = torch.tensor([[0.2, 0.95]], dtype=torch.float64, requires_grad=True)
    cut = torch.where(distance > CUT, torch.inf, distance)
    log_k = -(distance + (cut - distance).detach())
    (log_k - log_k.logsumexp(-1, keepdim=True)).softmax(-1)[0, 0].backward()
    assert distance.grad[0, 1] == 0


def test_the_sum_over_senders_does_not_matter_under_the_softmax():
    scores, log_p = torch.randn(3, 4, 6).double(), torch.randn(3, 4, 6).double()
    divided = log_p - log_p.logsumexp(-1, keepdim=True)
    assert torch.allclose((scores + log_p).softmax(-1), (scores + divided).softmax(-1))


def test_repulsion_by_loops():
    s = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    d = [1 - float(s[i] @ s[j] / (s[i].norm() * s[j].norm())) for i in range(9) for j in range(i)]
    near = [one for one in d if one < 0.4]
    assert near
    assert len(near) < len(d)
    assert repulsion(s).item() == pytest.approx(-sum(near))
