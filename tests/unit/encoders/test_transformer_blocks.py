"""The packed transformer against PyTorch's own layers, its padded path, and FLOP counter."""

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from brickwork.core.types import TokenBatch
from brickwork.encoders.blocks import attention
from brickwork.encoders.blocks.transformer import Transformer


def small(**changes) -> Transformer:
    torch.manual_seed(0)
    arguments = {
        "vocab_size": 50,
        "width": 16,
        "num_layers": 3,
        "num_heads": 4,
        "mlp_width": 24,
        "max_positions": 40,
    }
    model = Transformer(**{**arguments, **changes})
    for parameter in model.parameters():  # zero biases and unit norms would hide a missing one
        nn.init.normal_(parameter, std=0.2)
    return model.double().eval()


def batch(lengths: list[int]) -> TokenBatch:
    generator = torch.Generator().manual_seed(1)
    return TokenBatch.from_lists([torch.randint(0, 50, (n,), generator=generator).tolist() for n in lengths])


def torch_layer(block, norm: str) -> nn.TransformerEncoderLayer:
    """PyTorch's encoder layer with the weights of one of our blocks."""
    layer = nn.TransformerEncoderLayer(
        16, 4, 24, 0.0, "gelu", layer_norm_eps=1e-12, batch_first=True, norm_first=norm == "pre"
    )
    pairs = {
        "self_attn.in_proj_": block.attention.qkv,
        "self_attn.out_proj.": block.attention.out,
        "linear1.": block.mlp.up,
        "linear2.": block.mlp.down,
        "norm1.": block.attention_norm,
        "norm2.": block.mlp_norm,
    }
    layer.load_state_dict(
        {f"{name}{end}": getattr(ours, end) for name, ours in pairs.items() for end in ("weight", "bias")}
    )
    return layer.double().train()  # train: the plain path, not the fused one (dropout is 0)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_equals_torch_encoder_layers(norm):
    model = small(norm=norm, exit_norm="shared" if norm == "pre" else "none")
    tokens = batch([3, 9, 1, 30, 28, 2])
    ids, mask = tokens.padded(0)
    x = model.embedding_norm(model.token_embedding(ids) + model.position_embedding.weight[: ids.shape[1]])
    expected = {0: x}
    for i, block in enumerate(model.blocks, start=1):
        x = torch_layer(block, norm)(x, src_key_padding_mask=mask == 0)
        expected[i] = model.exit_norm.norms[0](x) if norm == "pre" else x
    hidden = model(tokens, range(4))
    assert sorted(hidden) == [0, 1, 2, 3]
    for i in range(4):
        torch.testing.assert_close(hidden[i], expected[i][mask.bool()])


@pytest.mark.parametrize("lengths", [[5], [7, 7, 7], [1, 40, 3], [30, 4, 30, 5, 29, 6, 4, 3, 12, 13, 2, 28]])
def test_padded_path_gives_the_same_numbers(lengths):
    model, tokens = small(), batch(lengths)
    ids, mask = tokens.padded(0)
    torch.testing.assert_close(model(tokens, [2])[2], model.forward_padded(ids, mask, 2)[mask.bool()])


def test_one_text_alone_or_in_company():
    model = small()
    lengths = [30, 4, 30, 5, 29, 6, 4, 3, 12]
    tokens = batch(lengths)
    together = model(tokens, [3])[3].split(lengths)
    for row in range(len(lengths)):
        torch.testing.assert_close(model(tokens.slice(row, row + 1), [3])[3], together[row])


def test_one_group_as_on_a_gpu(monkeypatch):
    model, tokens = small(), batch([30, 4, 30, 5, 29, 6, 4, 3, 12])
    expected = model(tokens, [3])[3]
    assert len(attention.Packed.of(tokens).groups) > 1
    one = lambda tokens: [(torch.arange(len(tokens)), tokens.max_length)]  # noqa: E731
    monkeypatch.setattr(attention, "_similar_lengths", one)
    assert len(attention.Packed.of(tokens).groups) == 1
    torch.testing.assert_close(model(tokens, [3])[3], expected)


def test_gradient_of_the_packed_path_is_that_of_the_padded_one():
    # Autograd's own gradient of the padded path is the oracle for the hand-written one of the packing.
    model, tokens = small(), batch([30, 4, 30, 5, 29, 6, 4, 3, 12])
    ids, mask = tokens.padded(0)
    weight = torch.randn(len(tokens.ids), 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gradients = []
    for hidden in (model(tokens, [3])[3], model.forward_padded(ids, mask, 3)[mask.bool()]):
        model.zero_grad()
        (hidden * weight).sum().backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], msg=name)


def test_attention_by_products_equals_fused_attention():
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(3, 2, 7, 5, dtype=torch.float64, generator=generator) for _ in range(3))
    mask = (torch.arange(7) < torch.tensor([[7], [2], [5]]))[:, None, None]
    for m in (mask, None):
        expected = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=m)
        torch.testing.assert_close(attention._attend_by_products(q, k, v, m), expected)


def test_deeper_layers_do_not_run():
    model = small()
    ran = []
    for i, block in enumerate(model.blocks, start=1):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    model(batch([4, 2]), [0, 2])
    assert ran == [1, 2]


def test_early_exit_is_a_slice_of_the_full_pass():
    model, tokens = small(), batch([4, 9, 9])
    full = model(tokens, [0, 1, 2, 3])
    for layer in range(4):
        assert torch.equal(model(tokens, [layer])[layer], full[layer])


@pytest.mark.parametrize(("kind", "count"), [("none", 0), ("shared", 1), ("per_layer", 3)])
def test_exit_norms(kind, count):
    model, tokens = small(norm="pre", exit_norm=kind), batch([4, 9])
    assert len(model.exit_norm.norms) == count
    hidden = model(tokens, [1, 2, 3])
    x = model._embed(tokens.ids, tokens.position)
    layout = attention.Packed.of(tokens)
    for i, block in enumerate(model.blocks, start=1):
        x = block(x, layout)
        expected = x if kind == "none" else model.exit_norm.norms[0 if kind == "shared" else i - 1](x)
        torch.testing.assert_close(hidden[i], expected)


@pytest.mark.parametrize("layers", [1, 3])
def test_flops_are_those_torch_counts(layers):
    model, tokens = small().float(), batch([8, 8])
    # The counter does not know the CPU's fused attention; the mathematical one it counts as products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(tokens, [layers])
    assert model.flops([8, 8], layers) == counter.get_total_flops()


def test_bfloat16_weights_and_autocast_stay_close():
    model, tokens = small().float(), batch([30, 4, 30, 5, 29, 6, 4, 3, 12])
    exact = model(tokens, [3])[3]
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(tokens, [3])[3]  # with gradients: attention by products
    with torch.inference_mode():
        short = model.to(torch.bfloat16)(tokens, [3])[3]
    for other in (mixed, short):
        similarity = nn.functional.cosine_similarity(other.float(), exact, dim=1)
        assert similarity.min() > 0.999


def test_text_longer_than_the_positions_is_refused():
    with pytest.raises(ValueError, match=r"41 tokens.*40 positions"):
        small()(batch([41]), [1])


def test_dropout_acts_in_training_only():
    model, tokens = small(dropout=0.5), batch([4, 9])
    assert torch.equal(model(tokens, [3])[3], model(tokens, [3])[3])
    model.train()
    assert not torch.equal(model(tokens, [3])[3], model(tokens, [3])[3])
