"""Measures of structure on activations whose groups are known."""

import numpy as np
import pytest
import torch

from brickwork.studies.emoe.structure import Seen, structure, worst


def test_planted_modules():
    """Four groups of four neurons, of which one answers to a token, as its key says."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(4)
    owner = torch.randint(4, (400,), generator=draw)
    inputs = torch.nn.functional.one_hot(owner, 4).float()
    keys = torch.eye(4)[labels]
    neurons = (inputs @ keys.T) * (1 + torch.rand(400, 16, generator=draw))
    true = structure(Seen(inputs, neurons), keys, labels)
    assert true["mass"] == 1.0
    assert true["recall"] == 1.0
    # Over pairs of one group, as numpy counts them.
    correlation = np.corrcoef(neurons.double().numpy().T)
    pairs = [(i, j) for i in range(16) for j in range(16) if i != j and labels[i] == labels[j]]
    assert true["co-activation"] == pytest.approx(np.mean([correlation[i, j] for i, j in pairs]))
    mixed = structure(Seen(inputs, neurons), keys, torch.arange(4).repeat(4))
    assert mixed["co-activation"] < 0
    assert mixed["mass"] < 0.4
    assert worst({"a": true, "b": mixed}, {"a": mixed, "b": mixed})["mass"] == 0


def test_negative_activations_and_silent_neurons_do_not_count():
    neurons = torch.tensor([[-3.0, 1.0, 0.0, 2.0], [-5.0, 3.0, 0.0, 1.0]])
    seen = Seen(torch.eye(2), neurons)
    found = structure(seen, torch.eye(4)[:, :2], torch.tensor([0, 0, 1, 1]))
    assert found["mass"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert np.isnan(found["co-activation"])  # no group has two neurons that say anything
