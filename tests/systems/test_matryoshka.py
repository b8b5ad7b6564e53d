"""Matryoshka against what the paper's equations say, computed by hand or by torch alone."""

import tempfile
import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from brickwork.api import train as api
from brickwork.core.config import from_dict
from brickwork.core.errors import BrickworkWarning, ConfigError, DataError
from brickwork.encoders.config import ImageEncoderConfig
from brickwork.evaluation.measure import measure
from brickwork.representation.contract import build_system
from brickwork.systems.matryoshka.system import Config
from brickwork.training.loop import fit

DIMS = (4, 8, 16)
MLP = ImageEncoderConfig(architecture="mlp", embedding_dim=16, width=24, depth=1)


def make(data, **options):
    return build_system("matryoshka", Config(**options), data, seed=0)


def batch_of(system, data, rows=range(12)):
    return {**system.collate(data.train.take(list(rows))), "step": 0}


def test_loss_is_the_sum_of_cross_entropies_over_prefixes(images):
    """Eq. 1 written out with torch.nn.functional."""
    system = make(images, encoder=MLP, dims=DIMS, weights=(1.0, 0.5, 2.0))
    batch = batch_of(system, images)
    z = system.encoder(batch["input"])[1]
    by_hand = 0
    for m, c in zip(DIMS, (1.0, 0.5, 2.0)):
        head = system.head.heads[str(m)]
        by_hand = by_hand + c * F.cross_entropy(z[:, :m] @ head.weight.T + head.bias, batch["label"])
    torch.testing.assert_close(system.loss(batch).total, by_hand)


def test_tied_heads_are_separate_heads_with_the_same_weights(images):
    """MRL-E: logits of prefix m are z_{1:m} W[:, 1:m]ᵀ + b."""
    tied = make(images, encoder=MLP, dims=DIMS, head="tied")
    separate = make(images, encoder=MLP, dims=DIMS)
    separate.encoder.load_state_dict(tied.encoder.state_dict())
    shared = tied.head.heads["16"]
    with torch.no_grad():
        for m in DIMS:
            separate.head.heads[str(m)].weight.copy_(shared.weight[:, :m])
            separate.head.heads[str(m)].bias.copy_(shared.bias)
    batch = batch_of(tied, images)
    torch.testing.assert_close(tied.loss(batch).total, separate.loss(batch).total)
    assert sum(p.numel() for p in tied.head.parameters()) == 3 * 16 + 3


def test_one_prefix_is_the_plain_loss_to_the_bit(images):
    system = make(images, encoder=MLP, dims=(16,))
    batch = batch_of(system, images)
    plain = F.cross_entropy(system.head.heads["16"](system.encoder(batch["input"])[1]), batch["label"])
    assert torch.equal(system.loss(batch).total, plain)


def test_gradient_of_a_coordinate_is_the_sum_over_prefixes_that_hold_it(images):
    system = make(images, encoder=MLP, dims=DIMS)
    batch = batch_of(system, images)
    z = system.embed(batch)["input"].detach()

    def gradient(dims):
        leaf = z.clone().requires_grad_()
        head = system.head
        sum(F.cross_entropy(head.heads[str(m)](leaf[:, :m]), batch["label"]) for m in dims).backward()
        return leaf.grad

    leaf = z.clone().requires_grad_()
    system.loss_from({"input": leaf}, batch).total.backward()
    for j in (0, 5, 12):
        torch.testing.assert_close(leaf.grad[:, j], gradient([m for m in DIMS if m > j])[:, j])


def test_fixed_feature_model_ignores_the_other_features(images):
    """FF-m: the loss does not reach the columns behind m, and the full prefix has no term."""
    system = make(images, encoder=MLP, dims=(4, 16), weights=(1.0, 0.0))
    output = system.loss(batch_of(system, images))
    output.total.backward()
    last = [p for p in system.encoder.network.parameters() if p.ndim == 2][-1]
    assert last.grad[:4].abs().sum() > 0
    assert last.grad[4:].abs().sum() == 0
    assert set(output.terms) == {"dim_4"}


def test_mean_divides_by_the_number_of_prefixes(images):
    batch = batch_of(make(images, encoder=MLP, dims=DIMS), images)
    total = make(images, encoder=MLP, dims=DIMS).loss(batch).total
    mean = make(images, encoder=MLP, dims=DIMS, reduction="mean").loss(batch).total
    torch.testing.assert_close(mean, total / 3)


def test_pairs_are_contrasted_at_every_normalised_prefix(pairs, tiny_text):
    """InfoNCE written out: softmax over cosines of prefixes, each normalised after cutting."""
    system = make(pairs, encoder=tiny_text, dims=(8, 32), temperature=0.1)
    batch = batch_of(system, pairs)
    z = system.embed(batch)
    by_hand = 0
    for m in (8, 32):
        a, p = (F.normalize(z[name][:, :m], dim=-1) for name in ("anchor", "positive"))
        by_hand = by_hand + F.cross_entropy(a @ p.T / 0.1, torch.arange(12))
    torch.testing.assert_close(system.loss(batch).total, by_hand)


def test_sizes_in_between_are_as_good_as_their_neighbours():
    """What users do, and what the paper finds (section 5): dims that are not in M interpolate."""
    run = api.recipe("matryoshka", "smoke")
    run = replace(
        run, data=replace(run.data, test_share=0.45), train=replace(run.train, save_every=0, validate_every=0)
    )
    system, data = api.build(run)
    with tempfile.TemporaryDirectory() as folder:
        fit(system, data.train, run.train, folder, seed=run.seed)
    dims = [4, 5, 6, 8, 10, 12, 16, 20, 24, 32]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BrickworkWarning)  # sizes that were not trained
        result = measure(system.eval().representation(), data, dims, time_queries=False)
    accuracy = {size.dim: size.value for size in result.scores["knn_accuracy"]}
    for below, above in pairwise(run.model.dims):
        for m in dims:
            if below < m < above:
                assert accuracy[m] > min(accuracy[below], accuracy[above]) - 0.02  # of 809 images


def test_default_dims_halve_down_to_eight(pairs, tiny_text):
    assert make(pairs, encoder=tiny_text).axes.dims == (8, 16, 32)


@pytest.mark.parametrize("kind", ["pairs", "triplets", "scored", "labelled_texts"])
def test_every_kind_of_text_data_trains(kind, tiny_text, request):
    data = request.getfixturevalue(kind)
    system = make(data, encoder=tiny_text)
    optimiser = torch.optim.Adam(system.parameters(), lr=1e-2)
    batch = batch_of(system, data)
    first = system.loss(batch).total.item()
    for _ in range(10):
        optimiser.zero_grad()
        system.loss(batch).total.backward()
        optimiser.step()
    assert system.loss(batch).total.item() < 0.8 * first


def test_negatives_count(pairs, triplets, tiny_text):
    """An explicit negative is one more candidate, so the loss grows."""
    system = make(triplets, encoder=tiny_text)
    without = system.loss(batch_of(system, pairs)).total
    assert system.loss(batch_of(system, triplets)).total > without


def test_wrong_data_is_refused_with_what_is_needed(images, pairs, tiny_text):
    with pytest.raises(DataError, match=r"info_nce.*anchor, positive.*labelled"):
        make(images, encoder=MLP, objective="info_nce")
    with pytest.raises(DataError, match=r"cross_entropy.*input, label.*pairs"):
        make(pairs, encoder=tiny_text, objective="cross_entropy")
    with pytest.raises(DataError, match="holds images"):
        make(images, encoder=tiny_text)


def test_options_without_effect_are_refused(images, pairs, tiny_text):
    with pytest.raises(ConfigError, match="temperature has no effect"):
        make(images, encoder=MLP, temperature=0.1)
    with pytest.raises(ConfigError, match="head has no effect"):
        make(pairs, encoder=tiny_text, head="tied")
    with pytest.raises(ConfigError, match="label_smoothing has no effect"):
        from_dict(Config, {"objective": "info_nce", "label_smoothing": 0.1})
    with pytest.raises(ConfigError, match="weights has 1 entries for 2 dims"):
        from_dict(Config, {"dims": [8, 16], "weights": [1.0]})


def test_dims_must_end_at_the_full_width(pairs, tiny_text):
    with pytest.raises(ConfigError, match=r"dims=\[8, 16\].*end at 32"):
        make(pairs, encoder=tiny_text, dims=(8, 16))


def test_static_encoder(pairs, tiny_text):
    config = replace(tiny_text, backbone="static", num_layers=None, num_heads=None, mlp_width=None)
    assert make(pairs, encoder=config).axes.layers == (1,)
