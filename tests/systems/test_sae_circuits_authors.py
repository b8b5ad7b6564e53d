"""The code scores against the authors' released code, and the figures that the claims quote against its released results.

tests/golden/sae-circuits-authors.json holds what charlieoneill11/sae-circuits gives for the vectors and weights below, and
the numbers of its result files; nothing of its code is here.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from brickwork.core.seeding import generator_for
from brickwork.studies.sae_circuits import claims
from brickwork.studies.study import claims_in
from brickwork.systems.sae_circuits.codes import SparseAutoencoder, code_scores, edge_scores, fit

AUTHORS = json.loads((Path(__file__).parents[1] / "golden" / "sae-circuits-authors.json").read_text())
PROMPTS, HEADS, WIDTH, LATENTS = 80, 8, 8, 10
BEHAVES = np.arange(PROMPTS) < PROMPTS // 2
TASKS = ("ioi", "gt", "ds")


def vectors():
    """sin(1.3 e + 2.1 h d + .7 d² + .31 e d (h + 1)), and cos(.9 d + .5 e) more for every third head with the behaviour."""
    e, h, d = np.arange(PROMPTS)[:, None, None], np.arange(HEADS)[None, :, None], np.arange(WIDTH)
    x = np.sin(1.3 * e + 2.1 * h * d + 0.7 * d * d + 0.31 * e * d * (h + 1))
    more = np.where((e < PROMPTS // 2) & (h % 3 == 1), np.cos(0.9 * d + 0.5 * e), 0.0)
    return torch.tensor(x + more, dtype=torch.float32)


def autoencoder():
    model = SparseAutoencoder(WIDTH, LATENTS, "row", generator_for(0, 0, "test"))
    m, d = np.arange(LATENTS)[:, None], np.arange(WIDTH)[None]

    def unit(rows):  # the released code has unit rows from the start
        return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)

    with torch.no_grad():
        model.encoder.copy_(unit(np.sin(1.7 * m + 2.9 * d + 0.3 * m * d)))
        model.decoder.copy_(unit(np.cos(0.9 * m + 1.1 * d + 0.2 * m * d).T))
        model.encoder_bias.copy_(torch.tensor(0.05 * np.sin(np.arange(LATENTS))))
    return model


@torch.no_grad()
def loss_of(model, x):
    reconstruction, a = model(x)
    return float((reconstruction - x).square().mean() + 0.02 * a.sum(-1).mean())


@pytest.mark.parametrize(("steps", "which"), [(0, "start"), (40, "after 40 steps")])
def test_the_autoencoder_and_its_scores_are_those_of_the_released_code(steps, which):
    """Training differs: it puts weights back to length 1 before each step, ours divides by the length and lets it be."""
    wanted, x, model = AUTHORS[which], vectors(), autoencoder()
    fit(model, x[::3].flatten(0, 1), l1=0.02, steps=steps, rate=1e-3)
    if steps:
        won, start = AUTHORS["start"]["loss"] - wanted["loss"], AUTHORS["start"]["loss"]
        assert start - loss_of(model, x) == pytest.approx(won, rel=0.01)
    else:
        assert loss_of(model, x) == pytest.approx(wanted["loss"], rel=1e-6)
    codes = model.codes(x).numpy()
    np.testing.assert_array_equal(codes, wanted["codes"])
    scores = code_scores(codes, BEHAVES)
    np.testing.assert_array_equal(scores["published"], wanted["unique"])
    if steps:
        with torch.no_grad():
            reconstruction = model(x)[0][0, 0].numpy()
        np.testing.assert_allclose(reconstruction, wanted["reconstruction"], atol=2e-3)
    else:  # here no two pairs of heads are equal on the border
        np.testing.assert_array_equal(edge_scores(codes, BEHAVES), wanted["appearances"])


def test_the_figures_that_claims_quote_are_those_of_the_released_results():
    quoted = {one.id: one.paper for one in claims_in(claims)}

    def figure(value):
        return f"{value:.3f}".lstrip("0")

    for task, name in zip(TASKS, ("IOI", "greater-than", "docstring")):
        assert f"{name} {figure(AUTHORS['main results'][task]['node']['mean_roc'])}" in quoted["C1"]
        few, many = (np.mean(AUTHORS["by prompts"][task][n]) for n in ("10", "250"))
        assert f"{name} {figure(few)} and {figure(many)}" in quoted["C3"]
        few, many = (np.mean(AUTHORS["by latents"][task][n]) for n in ("5", "250"))
        assert f"{name} {figure(few)} → {figure(many)}" in quoted["C4"]
    induction = AUTHORS["induction"]
    kept = dict(zip(induction["num_nodes"], induction["faithfulness_scores_kl"]))
    for heads, share in ((127, ".91"), (96, ".65"), (63, ".39")):
        assert f"{heads} keep {share}" in quoted["C5"]
        assert f"{kept[heads]:.2f}".lstrip("0") == share
    assert kept[141] > 0.99
