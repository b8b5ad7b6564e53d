"""Merging, checked against peft's own functions and loops over single numbers."""

import numpy as np
import pytest
import torch
from peft.utils import merge_utils

from brickwork.core.errors import ConfigError
from brickwork.modules.merging import MergeConfig, cosine, drop, merge, sign_conflict


def changes(count=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [
        {"a": torch.randn(6, 5, generator=g), "b": 3 * torch.randn(4, 7, generator=g)} for _ in range(count)
    ]


WEIGHTS = [1.0, 0.5, 2.0]


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_task_arithmetic_and_average_are_those_of_peft():
    given = changes()
    merged = merge(given, MergeConfig(method="task-arithmetic", scale=0.4), WEIGHTS)
    mean = merge(given, MergeConfig(), WEIGHTS)
    for name in "ab":
        theirs = merge_utils.task_arithmetic([c[name] for c in given], torch.tensor(WEIGHTS))
        close(merged[name], 0.4 * theirs)
        close(mean[name], theirs / 3)


@pytest.mark.parametrize("density", [0.2, 0.5, 0.9])
def test_ties_by_tensor_is_that_of_peft(density):
    given = changes()
    merged = merge(given, MergeConfig(method="ties", density=density, scope="tensor"))
    for name in "ab":
        theirs = merge_utils.ties([c[name] for c in given], torch.ones(3), density)
        close(merged[name], theirs)


def test_ties_over_the_whole_change_is_a_loop_over_its_numbers():
    given = changes()
    density = 0.3
    merged = merge(given, MergeConfig(method="ties", density=density, scale=2.0))
    flats = [np.concatenate([c["a"].numpy().ravel(), c["b"].numpy().ravel()]) for c in given]
    kept = []
    for flat in flats:
        order = np.argsort(-np.abs(flat))
        part = np.zeros_like(flat)
        part[order[: int(density * len(flat))]] = flat[order[: int(density * len(flat))]]
        kept.append(part)
    expected = np.zeros_like(flats[0])
    for place in range(len(expected)):
        numbers = [part[place] for part in kept if part[place] != 0]
        positive = sum(numbers) > 0
        agreeing = [n for n in numbers if (n > 0) == positive]
        expected[place] = 2.0 * sum(agreeing) / len(agreeing) if agreeing else 0.0
    ours = np.concatenate([merged["a"].numpy().ravel(), merged["b"].numpy().ravel()])
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_the_whole_change_and_each_tensor_keep_different_entries():
    """Of one change alone TIES is what it keeps."""
    for change in changes():
        whole, single = (
            merge([change], MergeConfig(method="ties", density=0.2, scope=scope))
            for scope in ("all", "tensor")
        )
        assert int((single["a"] != 0).sum()) == 6  # 20 % of 30 entries
        assert int((whole["a"] != 0).sum()) < 3  # b is three times larger and takes nearly all
        assert sum(int((part != 0).sum()) for part in whole.values()) == int(0.2 * 58)


def test_layers_that_a_change_leaves_alone_are_entries_of_its_whole():
    """Of 58 entries 20 are kept, or 52, which is more than either change has."""
    one, two = changes(2)
    merged = merge([{"a": one["a"]}, {"b": two["b"]}], MergeConfig(method="ties", density=20 / 58))
    assert [int((merged[name] != 0).sum()) for name in "ab"] == [20, 20]
    everything = merge([{"a": one["a"]}, {"b": two["b"]}], MergeConfig(method="ties", density=0.9))
    close(everything["a"], one["a"])
    close(everything["b"], two["b"])


def test_dare_keeps_a_share_and_its_expectation():
    def kept(seed):
        return drop(torch.ones(1, 200, 500), 0.25, torch.Generator().manual_seed(seed))

    once = kept(1)
    assert set(once.unique().tolist()) == {0.0, 4.0}
    # Four standard errors of a Bernoulli over its p.
    assert abs(float(once.mean()) - 1) < 4 * np.sqrt(3 / 100_000)
    assert torch.equal(once, kept(1))
    assert not torch.equal(once, kept(2))
    one = changes(1)[0]
    first, again, other = (
        merge([one], MergeConfig(method="dare", density=0.5), seed=seed)["a"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("method", "theirs"), [("dare", merge_utils.dare_linear), ("dare-ties", merge_utils.dare_ties)]
)
def test_dare_with_all_entries_is_that_of_peft(method, theirs, recwarn):
    given = changes()
    merged = merge(given, MergeConfig(method=method, density=1.0))
    for name in "ab":
        close(merged[name], theirs([c[name] for c in given], torch.ones(3), 1.0))
    recwarn.clear()  # peft warns of a density of 1


def test_one_change_merged_is_itself_whatever_keeps_all():
    (one,) = changes(1)
    for config in (
        MergeConfig(),
        MergeConfig(method="task-arithmetic"),
        MergeConfig(method="ties", density=1.0),
    ):
        merged = merge([one], config)
        for name in "ab":
            close(merged[name], one[name])


def test_a_layer_that_one_leaves_alone_counts_as_zeros():
    one, two = changes(2)
    merged = merge([one, {"a": two["a"]}], MergeConfig())
    close(merged["b"], one["b"] / 2)


def test_conflicts_and_cosines_are_counted():
    one = {"a": torch.tensor([[1.0, -1.0, 2.0, 0.0]])}
    two = {"a": torch.tensor([[1.0, 1.0, 0.0, 5.0]])}
    assert sign_conflict([one, two]) == 0.5  # of the two entries that both have, one
    assert cosine(one, two) == pytest.approx(0.0, abs=1e-9)
    assert cosine(one, one) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "average", "scale": 2.0}, "scale has no effect"),
        ({"method": "task-arithmetic", "density": 0.5}, "density has no effect"),
        ({"method": "dare", "scope": "all"}, "scope has no effect"),
    ],
)
def test_options_without_effect_are_named(given, message):
    assert message in MergeConfig(**given).validate()[0]


def test_other_shapes_other_counts_and_nothing_are_refused():
    one, two = changes(2)
    with pytest.raises(ConfigError, match="shape"):
        merge([one, {"a": two["b"]}], MergeConfig())
    with pytest.raises(ConfigError, match="weights"):
        merge([one, two], MergeConfig(), [1.0])
    with pytest.raises(ConfigError, match="at least one"):
        merge([], MergeConfig())
