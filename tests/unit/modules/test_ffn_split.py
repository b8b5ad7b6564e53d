"""Groups of feed-forward neurons: against every split of a few points, and against ablating the same neurons by hand."""

import itertools

import pytest
import torch

from brickwork.core.errors import ConfigError
from brickwork.modules.ablation import ablate
from brickwork.modules.adapters import inject_lora
from brickwork.modules.ffn_split import (
    any_of,
    balanced_groups,
    feed_forwards,
    group_keys,
    group_order,
    grouped,
    highest,
    inverse,
    lowest,
    permute,
    random_groups,
)
from sample_transformers import MODELS, PACKED, decoder, inputs, ours, pretrained, run_ours

pytestmark = pytest.mark.filterwarnings("ignore")  # transformers' own
KNOWN = [name for name in MODELS if name != "modernbert"]  # whose gate is one matrix of two halves


def spread(points, labels):
    """The sum of squared distances to the means of the groups."""
    points = torch.nn.functional.normalize(points.double(), dim=-1)
    return sum(
        float(((points[labels == g] - points[labels == g].mean(0)) ** 2).sum()) for g in labels.unique()
    )


def test_best_of_all_equal_splits():
    for seed in range(5):
        points = torch.randn(8, 3, generator=torch.Generator().manual_seed(seed))
        every = [
            torch.tensor([0 if n in chosen else 1 for n in range(8)])
            for chosen in itertools.combinations(range(8), 4)
        ]
        best = min(spread(points, labels) for labels in every)
        found = [balanced_groups(points, 2, start) for start in range(8)]
        assert all(labels.bincount().tolist() == [4, 4] for labels in found)
        assert min(spread(points, labels) for labels in found) == pytest.approx(best, abs=1e-12)


def test_planted_groups_are_found_whatever_their_lengths():
    draw = torch.Generator().manual_seed(0)
    planted = torch.arange(6).repeat(20)
    points = torch.eye(6).repeat(20, 2) + 0.1 * torch.randn(120, 12, generator=draw)
    points *= 0.1 + 5 * torch.rand(120, 1, generator=draw)
    labels = balanced_groups(points, 6)
    assert len({(int(a), int(b)) for a, b in zip(planted, labels)}) == 6
    assert torch.equal(labels, balanced_groups(points, 6))


def test_random_groups_have_one_size():
    labels = random_groups(24, 6, 1)
    assert labels.bincount().tolist() == [4] * 6
    assert torch.equal(labels, random_groups(24, 6, 1))
    assert not torch.equal(labels, random_groups(24, 6, 2))


@pytest.mark.parametrize("name", KNOWN)
@torch.no_grad()
def test_in_transformers(name):
    model, *_ = pretrained(name)
    given = inputs(name)
    keep = given.get("attention_mask", torch.ones(3, 1)).bool()

    def run():
        out = model(**given).last_hidden_state
        return out[keep] if "attention_mask" in given else out

    halves = feed_forwards(model)
    assert list(halves) == ["layers.0.ffn", "layers.1.ffn"]
    dense, before = run(), {key: value.clone() for key, value in model.state_dict().items()}
    labels = {half: balanced_groups(half.keys(), 8) for half in halves.values()}
    with grouped(labels, highest(8)):
        torch.testing.assert_close(run(), dense, rtol=0, atol=1e-5)
    # Whatever its scores, a choice of groups 1, 4 and 7 is the ablation of all other neurons.
    pick = torch.arange(8) % 3 == 1
    changes = {
        half.name: {tuple(torch.nonzero(~pick[own]).flatten().tolist()): "zero"}
        for half, own in labels.items()
    }
    with ablate(model, changes):
        wanted = run()
    with grouped(labels, lambda scores: pick.expand(scores.shape)):
        torch.testing.assert_close(run(), wanted, rtol=0, atol=1e-5)
    assert not torch.allclose(wanted, dense, atol=1e-3)
    orders = {half: group_order(own) for half, own in labels.items()}
    for half, order in orders.items():
        permute(half, order)
        assert torch.equal(labels[half][order], torch.arange(8).repeat_interleave(half.neurons // 8))
    torch.testing.assert_close(run(), dense, rtol=0, atol=1e-5)
    for half, order in orders.items():
        permute(half, inverse(order))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@torch.no_grad()
def test_our_encoder_and_our_decoder():
    for model, run in (
        (ours(), lambda m: run_ours(m, PACKED)),
        (decoder(), lambda m: m(torch.arange(5)[None]).logits),
    ):
        dense = run(model)
        labels = {half: balanced_groups(half.keys(), 4) for half in feed_forwards(model).values()}
        with grouped(labels, highest(4)):
            torch.testing.assert_close(run(model), dense, rtol=0, atol=1e-6)
        with grouped(labels, highest(1)) as used:
            assert not torch.allclose(run(model), dense, atol=1e-3)
        assert all((mask.sum(-1) == 1).all() for mask in used.values())


def test_scores_are_mean_preactivations_and_gradients_stay_in_the_groups_used():
    """Llama: the choice and the output against its equations, token by token; weights of unused groups learn nothing."""
    model, *_ = pretrained("llama")
    mlp = model.layers[0].mlp
    half = feed_forwards(model)["layers.0.ffn"]
    labels = balanced_groups(half.keys(), 6)
    x = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(3))
    with grouped({half: labels}, highest(2)) as used:
        given = mlp(x)
    raw = torch.nn.functional.linear(x, mlp.gate_proj.weight)
    means = torch.stack([raw[..., labels == g].mean(-1) for g in range(6)], -1)
    assert set(used[half.name].nonzero()[:, -1].tolist()) == set(means[0, 0].argsort()[-2:].tolist())
    on = torch.isin(labels, means[0, 0].argsort()[-2:])
    neurons = torch.nn.functional.silu(mlp.gate_proj(x)) * mlp.up_proj(x) * on
    torch.testing.assert_close(given, mlp.down_proj(neurons), rtol=0, atol=1e-6)
    given.square().sum().backward()
    learnt = mlp.gate_proj.weight.grad.abs().sum(-1) > 0
    assert torch.equal(learnt, on)


def test_adapters_of_the_attention_are_tuned_in_groups_and_merged_into_a_dense_model():
    """What is left after tuning has the names and shapes that transformers loads, with the feed-forward halves untouched."""
    model, *_ = pretrained("bert")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    labels = {half: balanced_groups(half.keys(), 6) for half in feed_forwards(model).values()}
    adapters = inject_lora(model, r".*self\.(query|value)", rank=2)
    learnt = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learnt, lr=0.1)
    for _ in range(2):  # the second factor starts at zero: the first learns from step 2 on
        with grouped(labels, highest(3)):
            model(**inputs("bert")).last_hidden_state[:, 0, 0].sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    adapters.merge_()
    after = adapters.unload_().state_dict()
    fresh, *_ = pretrained("bert")
    fresh.load_state_dict(after)
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if key.endswith(("self.query.weight", "self.value.weight"))}
    with torch.no_grad():
        wanted, given = (one(**inputs("bert")).last_hidden_state for one in (model.eval(), fresh))
    torch.testing.assert_close(given, wanted, rtol=0, atol=1e-6)
    inject_lora(model, r".*intermediate\.dense", rank=2)
    with pytest.raises(ConfigError, match=r"layers\.0\.ffn"):
        feed_forwards(model)


def test_group_keys_and_controls():
    keys = torch.arange(8.0).reshape(4, 2)
    assert group_keys(keys, torch.tensor([0, 1, 1, 0])).tolist() == [[3.0, 4.0], [3.0, 4.0]]
    scores = torch.tensor([[0.1, 0.5, -0.2], [3.0, 2.0, 1.0]])
    assert highest(1)(scores).int().tolist() == [[0, 1, 0], [1, 0, 0]]
    assert lowest(1)(scores).int().tolist() == [[0, 0, 1], [0, 0, 1]]
    drawn = any_of(1, torch.Generator().manual_seed(0))(torch.zeros(3000, 3))
    assert (drawn.sum(-1) == 1).all()
    assert ((drawn.sum(0) - 1000).abs() < 4 * (3000 * 2 / 9) ** 0.5).all()  # four standard deviations


def test_what_cannot_be_is_refused():
    model, *_ = pretrained("bert")
    half = feed_forwards(model)["layers.0.ffn"]
    with pytest.raises(ConfigError, match="24 neurons do not divide into groups=7 of one size; 6 would do"):
        balanced_groups(half.keys(), 7)
    with pytest.raises(ConfigError, match="groups=0"):
        random_groups(24, 0)
    with pytest.raises(ConfigError, match="not finite"):
        balanced_groups(torch.full((4, 2), float("nan")), 2)
    with pytest.raises(ConfigError, match=r"layers\.0\.ffn: an order must name each"):
        permute(half, torch.zeros(24, dtype=torch.long))
    with (
        pytest.raises(ConfigError, match="one label for each of its 24"),
        grouped({half: torch.zeros(3).long()}, highest(1)),
    ):
        pass
    with pytest.raises(ConfigError, match="7 of 6 groups"), grouped({half: random_groups(24, 6)}, highest(7)):
        model(**inputs("bert"))
    with pytest.raises(ConfigError, match="the matrices that make its parts are not known"):
        feed_forwards(pretrained("modernbert")[0])
