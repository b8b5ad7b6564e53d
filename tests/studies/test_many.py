"""Many models at once are the same models one after the other, trained with torch's AdamW and clipping."""

import pytest
import torch
from torch import nn

from brickwork.core.types import LossOutput
from brickwork.studies.many import ManyConfig, fit_many

STEPS = 12
CASES = [(1e-2, 0.0), (3e-2, 0.5), (1e-1, 1.0)]


class Small(nn.Module):
    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()

    def loss(self, batch):
        error = (self.network(batch["x"]) - batch["y"]).square().mean()
        return LossOutput.of({"error": error * (1 + 0 * batch["step"])})


def batches():
    generator = torch.Generator().manual_seed(7)
    made = []
    for _ in CASES:
        x = torch.randn(9, 3, dtype=torch.float64, generator=generator)
        made.append({"x": x, "y": 5 * x.sum(1, keepdim=True)})
    return made


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_equals_training_one_by_one(clip):
    many, single = [Small(i) for i in range(3)], [Small(i) for i in range(3)]
    config = ManyConfig(
        steps=STEPS,
        learning_rates=tuple(rate for rate, _ in CASES),
        weight_decays=tuple(decay for _, decay in CASES),
        clip_norm=clip,
    )
    fit_many(many, batches(), config)
    for system, batch, (rate, decay) in zip(single, batches(), CASES):
        matrices = [p for p in system.parameters() if p.ndim >= 2]
        rest = [p for p in system.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=rate)
        for step in range(STEPS):
            optimizer.zero_grad()
            system.loss({**batch, "step": step}).total.backward()
            if clip:
                nn.utils.clip_grad_norm_(system.parameters(), clip)
            optimizer.step()
    for ours, theirs in zip(many, single):
        for name, p in ours.named_parameters():
            torch.testing.assert_close(p, dict(theirs.named_parameters())[name], rtol=1e-6, atol=1e-8)


def test_counts_must_agree():
    with pytest.raises(ValueError, match="3 systems need as many"):
        fit_many([Small(0)] * 3, batches(), ManyConfig(steps=1, learning_rates=(0.1,), weight_decays=(0.0,)))
