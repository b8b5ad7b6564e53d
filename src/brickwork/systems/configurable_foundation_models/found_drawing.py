"""The pictures of a run that looked into a language model: what erasing costs, scores, groups, texts.

``found``: an :class:`~brickwork.systems.configurable_foundation_models.emergent.EmergentBricks`.
"""

from typing import Any

import numpy as np
import torch

from brickwork.data.types import Examples
from brickwork.inspection.drawings import Drawing
from brickwork.inspection.maps import principal
from brickwork.inspection.plots import both
from brickwork.modules.ffn_split import random_groups
from brickwork.systems.configurable_foundation_models.erasing import INDICATORS, SHARES
from brickwork.systems.configurable_foundation_models.partition import P_VALUE, enrichment, share_of_experts
from brickwork.systems.configurable_foundation_models.pictures import STYLE, dots, lines, matrix


def found_drawings(found: Any, examples: Examples) -> list[Drawing]:
    """All pictures; the map only where there are texts to show."""
    drawings = [_erasing(found), _scores(found), _thinned(found), _overlaps(found), _groups(found)]
    return [*drawings, _map(found, examples)] if len(examples) > 2 else drawings


def _erasing(found: Any) -> Drawing:
    values, number = found.matrix(), len(found.domains)
    rows = [*found.domains, *found.domains, *found.rows()[2 * number :]]
    headings = {
        0: "without the neurons of …",
        number: "without them, but for residents",
        2 * number: "without neurons that chance chose",
    }
    ringed = np.zeros(values.shape, dtype=bool)
    for place in range(number):
        ringed[[place, number + place], place] = True
    measured = found.locality()
    kept = round(100 * found.find.share, 1)
    lead = (
        f"How much worse the model reads each domain (column) without {kept:g} % of its neurons: those that "
        "tell the domain of "
        "the row from the others best. The numbers are the rise of perplexity in %, on texts that were not "
        "used to choose the "
        f"neurons; a ring marks a domain without its own. On average the domain itself loses "
        f"{measured['erased_own']:.3g} % and the others {measured['erased_others']:.3g} %; without the "
        "resident neurons, which "
        f"are active whatever the text, {measured['erased_own/no_residents']:.3g} % and "
        f"{measured['erased_others/no_residents']:.3g} %. Neurons chosen by chance (shuffled domains): "
        f"{measured['erased_chance']:.3g} %."
    )

    def draw(width: int) -> str:
        return matrix(
            values, rows, found.domains, width, ringed=ringed, headings=headings,
            words=lambda row, column, value: f"without the neurons of {row}: {column} {value:+.2f} % perplexity",
            title="rise of perplexity: rows erased, columns measured",
        )  # fmt: skip

    return Drawing("What erasing a domain costs", lead, both(draw), STYLE)


def _scores(found: Any) -> Drawing:
    best = found.score.amax(2)
    curves = {
        name: [(float(layer), float(value)) for layer, value in enumerate(best[place])]
        for place, name in enumerate(found.domains)
    }
    chance = found.null_best.mean(0)
    curves["best by chance"] = [(float(layer), float(value)) for layer, value in enumerate(chance)]
    mean = found.score.mean((0, 2))
    curves["mean neuron"] = [(float(layer), float(value)) for layer, value in enumerate(mean)]
    layer, place = divmod(int(best.T.argmax()), len(found.domains))
    lead = (
        "The average precision with which the best neuron of each layer tells a domain from all others, from "
        "its mean activity "
        f"on a text. The best is {float(best.max()):.2f}, for {found.domains[place]} in layer {layer}. "
        "Dashed: the best of a "
        "layer when domains are shuffled among texts, and the mean of all neurons."
    )

    def draw(width: int) -> str:
        return lines(
            curves, width, x_title="layer", y_title="average precision", limits=(0.0, 1.0),
            by_chance=("best by chance", "mean neuron"), title="best functional score by layer and domain",
        )  # fmt: skip

    return Drawing("Specialists by layer", lead, both(draw), STYLE)


def _thinned(found: Any) -> Drawing:
    names = {"activation": "lowest activation", "magnitude": "lowest magnitude", "random": "by chance"}
    thin = found.thin.double().numpy()
    curves = {
        names[by]: [(100 * share, float(value)) for share, value in zip(SHARES, thin[row])]
        for row, by in enumerate(INDICATORS)
    }
    at = {by: dict(zip(SHARES, thin[row])) for row, by in enumerate(INDICATORS)}
    most = max(float(thin[:2].max()) * 1.3, 0.1)
    lead = (
        "How much the loss rises (nats per token) when a share of each layer's neurons is left out, chosen "
        "afresh for every "
        "token: those with the lowest activation, those that add the least to the output, or any. 70 % by "
        "activation cost "
        f"{at['activation'][0.7]:.3f}, 80 % by magnitude {at['magnitude'][0.8]:.3f}; 70 % by chance "
        f"{at['random'][0.7]:.2f}. "
        "What lies above the picture is drawn at its edge."
    )

    def draw(width: int) -> str:
        return lines(
            curves, width, x_title="% of neurons left out", y_title="nats per token more", limits=(0.0, most),
            by_chance=("by chance",), title="rise of the loss against neurons left out",
        )  # fmt: skip

    return Drawing("How many neurons a token needs", lead, both(draw), STYLE)


def _overlaps(found: Any) -> Drawing:
    values = found.overlaps().double().numpy()
    chance = found.overlaps(by_chance=True).double().numpy()
    apart = ~np.eye(len(values), dtype=bool)
    together = found.null_overlap.double().numpy()
    lead = (
        f"The share of a domain's neurons that are also those of another: {values[apart].mean():.3g} on average. Two sets "
        f"by chance share {found.find.share:.3g} (domains shuffled among texts, for each by itself: "
        f"{chance[apart].mean():.3g}). That a text is of one domain only makes it less by itself: domains shuffled "
        f"together share {together[apart].mean():.3g}."
    )
    shown = np.where(apart, values, np.nan)

    def draw(width: int) -> str:
        return matrix(
            shown, found.domains, found.domains, width, title="overlap of the bricks of two domains",
            text=lambda value: "" if np.isnan(value) else f"{value:.2f}",
            words=lambda row, column, value: f"{row} and {column}: {value:.3f}",
        )  # fmt: skip

    return Drawing("Neurons that two domains share", lead, both(draw), STYLE)


def _groups(found: Any) -> Drawing:
    groups = found.find.groups
    p_values = enrichment(found.score.cpu(), found.groups.cpu(), groups)
    random = torch.stack(
        [random_groups(found.shape[1], groups, found.seed + layer) for layer in range(found.shape[0])]
    )
    chance = share_of_experts(enrichment(found.score.cpu(), random, groups))
    counts = (p_values < P_VALUE).sum(2).astype(float)
    lead = (
        f"The neurons of a layer in {groups} groups with similar keys: in how many of them a domain's best "
        "neurons (1 % of the "
        f"layer) gather (p < {P_VALUE:g}, hypergeometric). {100 * share_of_experts(p_values):.1f} % of the "
        "groups do so; of "
        f"random groups {100 * chance:.2f} %."
    )
    layers = [str(layer) for layer in range(found.shape[0])]

    def draw(width: int) -> str:
        turned = width < 500  # layers below each other
        rows, columns = (layers, found.domains) if turned else (found.domains, layers)
        return matrix(
            counts.T if turned else counts, rows, columns, width,
            title="groups that are functional experts, by domain and layer",
            text=lambda value: f"{value:.0f}" if value else "",
            words=lambda row, column, value: f"{row}, {column}: {value:.0f} of {groups} groups",
        )  # fmt: skip

    return Drawing("Do specialists lie together?", lead, both(draw), STYLE)


def _map(found: Any, examples: Examples) -> Drawing:
    active = found.texts_by_domain(list(examples.columns["input"])).double().numpy()
    domains = [str(name) for name in examples.columns["domain"]]
    best = [found.domains[place] for place in active.argmax(1)]
    right = np.mean([one == other for one, other in zip(best, domains)])
    lead = (
        "Held-out texts by how active the brick of each domain is on them (two principal components); hollow "
        "where another "
        f"domain's brick is the most active. In {100 * right:.0f} % of {len(domains)} texts it is that of "
        "their own domain, by "
        f"chance {100 / len(found.domains):.0f} %."
    )
    hollow = [one != other for one, other in zip(best, domains)]
    words = [
        own if own == other else f"{own}; the brick of {other} is more active"
        for own, other in zip(domains, best)
    ]

    def draw(width: int) -> str:
        return dots(
            principal(active, 2), domains, hollow, words, found.domains, width, title="map of held-out texts"
        )

    return Drawing("Texts on the map of bricks", lead, both(draw), STYLE)
