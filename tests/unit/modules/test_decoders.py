"""The decoder and its mixtures: against one token and one module at a time, with what is kept, and its costs."""

import pytest
import torch

from brickwork.core.errors import ConfigError
from brickwork.encoders.blocks.mlp import Mlp
from brickwork.modules.decoders import (
    AttentionForm,
    DecoderBlock,
    DecoderLM,
    ExpertFeedForward,
    HeadMixture,
    SharedHeads,
)
from brickwork.modules.routers import TopKRouter
from brickwork.modules.sampling import continue_text
from brickwork.systems.moduleformer.surgery import freeze_old, grow, least_used, prune

FORM = AttentionForm(hidden=6, num_heads=2)


def head_mixture(**router):
    torch.manual_seed(0)
    return HeadMixture(8, FORM, TopKRouter(8, 4, 2, hidden=4, **router), init="kaiming")


def decoder(layers=2):
    torch.manual_seed(0)
    blocks = [
        DecoderBlock(
            8,
            HeadMixture(8, FORM, TopKRouter(8, 4, 2, hidden=4), init="kaiming"),
            ExpertFeedForward(8, 5, TopKRouter(8, 6, 2, hidden=4), init="kaiming"),
        )
        for _ in range(layers)
    ]
    return DecoderLM(20, 8, blocks).eval()


def test_head_mixture_is_dense_attention_of_each_module():
    """Σ p_m O_mᵀ attend(Q_mᵀ x, K x, V x), each module run densely over all tokens and picked by hand."""
    mixture = head_mixture().double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    results, _, routed = mixture(x, None, None)
    expected = torch.zeros_like(x)
    for module in range(4):
        queries = (x @ mixture.query.weight[module])[:, :, None]
        mixed, _ = FORM.attend(queries, mixture.key(x), mixture.value(x), None)
        out = mixed[:, :, 0] @ mixture.out.weight[module]
        weight = (routed.weights * (routed.index == module)).sum(1).view(2, 5, 1)
        expected += weight * out
    torch.testing.assert_close(results, expected, rtol=1e-10, atol=1e-12)


def test_dense_twin_has_the_active_parameters_of_the_mixture():
    mixture, twin = head_mixture(), SharedHeads(8, FORM, 2)
    router = 2 * sum(p.numel() for p in mixture.router.parameters() if p.ndim > 1)
    assert mixture.flops(10) - router == twin.flops(10)


def test_flops_are_counted_as_pytorch_counts_them():
    """PyTorch's own counter on the dense twin: matrix products only, attention over all 6 × 6 scores."""
    from torch.utils.flop_counter import FlopCounterMode

    block = DecoderBlock(8, SharedHeads(8, FORM, 2), Mlp(8, 12))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        block(torch.randn(1, 6, 8), None, None)
    assert 6 * block.flops(context=6) == counter.get_total_flops()


def test_flops_of_a_mixture_count_active_modules():
    feed = ExpertFeedForward(8, 5, TopKRouter(8, 6, 2, hidden=4))
    assert feed.flops() == 2 * (2 * (8 * 5 + 5 * 8) + 8 * 4 + 4 * 6)


def test_generating_with_kept_keys_is_generating_anew():
    """Greedy tokens with the cache, against the whole text run again for each token."""
    model = decoder()
    generator = torch.Generator().manual_seed(0)
    results = continue_text(model, [3, 1, 4], max_tokens=8, temperature=0.0, top_k=0, generator=generator)
    ids = [3, 1, 4]
    for _ in range(8):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert results == ids[3:]


def test_what_is_kept_is_bounded():
    model = decoder()
    out = model(torch.randint(0, 20, (1, 9)))
    assert {kept.last(4).k.shape[2] for kept in out.cache} == {4}


def test_padding_changes_no_routing_statistic():
    model = decoder(layers=1)
    ids = torch.randint(0, 20, (2, 6))
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    other = ids.clone()
    other[1, 4:] = 7
    for one, two in zip(model(ids, mask).routings, model(other, mask).routings):
        for name in one.aux:
            torch.testing.assert_close(one.aux[name], two.aux[name])
        assert all(one.stats[name] == two.stats[name] for name in one.stats)


def test_heads_must_divide():
    with pytest.raises(ConfigError, match="no multiple of num_heads=4"):
        AttentionForm(hidden=6, num_heads=4)


# ---- surgery ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["heads", "mlp"])
def test_added_and_pruned_again_is_the_identity(kind):
    """The sheet's identity: to the bit."""
    mixture = head_mixture() if kind == "heads" else ExpertFeedForward(8, 5, TopKRouter(8, 4, 2, hidden=4))
    before = {name: value.clone() for name, value in mixture.state_dict().items()}
    grow(mixture, 3)
    assert mixture.router.num_modules == 7
    assert {part.num_modules for part in mixture.expert_maps()} == {7}
    prune(mixture, range(4))
    after = mixture.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_new_modules_start_two_below_the_mean_and_leave_old_logits():
    mixture = head_mixture()
    x = torch.randn(50, 8)
    before = mixture.router(x).logits
    grow(mixture, 2)
    after = mixture.router(x).logits
    torch.testing.assert_close(after[:, :4], before)
    distance = (after[:, 4:] - before.mean(1, keepdim=True) + 2).abs()
    assert distance.max() < 0.1
    assert not torch.equal(after[:, 4], after[:, 5])


@pytest.mark.parametrize(("trained", "free"), [("new", False), ("router", True)])
def test_only_what_is_new_learns(trained, free):
    mixture = head_mixture()
    grow(mixture, 2)
    freeze_old(mixture, 4, trained)
    mixture.router.scorer.offset[4:] = (
        0.1  # untrained routers hardly differ: new ones would not be among the best
    )
    x = torch.randn(2, 40, 8)
    out, _, routed = mixture(x, None, None)
    (out.square().sum() + sum(routed.aux.values())).backward()
    for part in mixture.expert_maps():
        assert part.weight.grad[:4].abs().sum() == 0
    assert mixture.query.weight.grad[4:].abs().sum() > 0
    rows = mixture.router.scorer.modules_embedding.grad
    assert (rows[:4].abs().sum() > 0) == free
    assert rows[4:].abs().sum() > 0
    assert (mixture.router.scorer.inner.weight.grad is not None) == free


def test_pruned_modules_are_those_of_the_other_softmax():
    """The kept modules' weights are the softmax over the survivors."""
    mixture = head_mixture()
    x = torch.randn(30, 8)
    logits = mixture.router(x).logits[:, [0, 2, 3]]
    prune(mixture, [0, 2, 3])
    torch.testing.assert_close(mixture.router(x).weights, logits.softmax(-1).topk(2).values)


def test_pruning_below_top_k_is_refused():
    with pytest.raises(ConfigError, match=r"1 modules would be left.*top_k=2"):
        prune(head_mixture(), [1])


def test_the_least_used_go_over_all_mixtures_but_each_keeps_some():
    import numpy as np

    shares = [np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.97, 0.01, 0.01, 0.01])]
    assert least_used(shares, 0.25, [2, 2]) == [[0, 1, 2], [0, 2, 3]]
    assert least_used(shares, 0.5, [2, 2]) == [[0, 1], [0, 3]]
    assert least_used(shares, 0.9, [2, 2]) == [[0, 1], [0, 3]]
    assert least_used(shares, 0.0, [2, 2]) == [[0, 1, 2, 3], [0, 1, 2, 3]]
