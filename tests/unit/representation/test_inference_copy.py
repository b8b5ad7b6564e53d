"""The bf16 copy follows the weights, whoever writes them."""

import pytest
import torch
from torch import nn

from brickwork.representation import inference


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"foreach": False}])
def test_the_copy_is_made_anew_after_every_kind_of_optimiser_step(options):
    """A fused AdamW step does not raise a tensor's version, which once left the copy at the old weights."""
    encoder = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.1, **options)
    with inference.for_inference(encoder, "bf16") as before:
        old = before[1].weight.clone()
    for parameter in encoder.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with inference.for_inference(encoder, "bf16") as after:
        assert torch.equal(after[1].weight, encoder[1].weight.bfloat16())
        assert not torch.equal(after[1].weight, old)
    with inference.for_inference(encoder, "bf16") as again:
        assert again is after
