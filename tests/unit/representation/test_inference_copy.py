"""The bf16 copy follows the weights, whoever writes them."""

import pytest
import torch
from torch import nn

from brickwork.core.types import TokenBatch
from brickwork.encoders.hub import HubTransformer
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


@pytest.mark.parametrize("contiguous", [True, False])
def test_the_copy_follows_every_step_however_a_weight_lies_in_memory(contiguous):
    """What is looked at is kept as views: of a transposed weight, a flattened one would be a copy that never changes."""
    weight = torch.randn(8, 64) if contiguous else torch.randn(64, 8).t()
    encoder = nn.ParameterList([nn.Parameter(weight)])
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.1, fused=True)
    for _ in range(3):
        encoder[0].grad = torch.ones_like(encoder[0])
        optimizer.step()
        with inference.for_inference(encoder, "bf16") as copy:
            assert torch.equal(copy[0], encoder[0].bfloat16())


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_rotary_positions_stay_exact_in_long_texts():
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 300,
    }
    torch.manual_seed(0)
    encoder = HubTransformer(
        config={**config, "intermediate_size": 96, "max_position_embeddings": 2048}
    ).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    tokens = TokenBatch.from_lists([torch.randint(300, (1500,)).tolist()])
    with torch.no_grad(), inference.for_inference(encoder, "bf16") as low:
        exact, rounded = encoder(tokens, [2])[2], low(tokens, [2])[2].float()
    assert torch.cosine_similarity(exact, rounded)[-50:].min() > 0.99
