"""What a language model loses without some of its neurons: erased for all texts, or left out token by token.

Erasing a domain is silencing its emergent brick; the model itself is never written to, so putting it back is exact.

Shape legend: N texts, L layers, M neurons of a layer, F domains.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from brickwork.modules.ablation import Changes, ablate
from brickwork.modules.places import Place, find_places
from brickwork.systems.configurable_foundation_models.neurons import batches, first_windows

Indicator = Literal["activation", "magnitude", "random"]
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Of neurons left out token by token."""
INDICATORS: tuple[Indicator, ...] = ("activation", "magnitude", "random")


def per_token(
    sums: Float[np.ndarray, " texts"], counts: Float[np.ndarray, " texts"]
) -> Float[np.ndarray, " texts"]:
    """Nats per token; NaN for a text of one token, in which nothing is predicted."""
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)


@torch.no_grad()
def window_nats(
    lm: Any, texts: Sequence[str], context: int
) -> tuple[Float[np.ndarray, " texts"], Float[np.ndarray, " texts"]]:
    """The sum of −log p over the predicted tokens of each text's first window, and their number."""
    ids, mask = first_windows(lm, texts, context)
    device = next(lm.parameters()).device
    sums = np.zeros(len(texts))
    for rows in batches(len(ids), context):
        longest = max(int(mask[rows].sum(1).max()), 1)
        some = ids[rows, : longest + 1].to(device)
        logits = lm(some[:, :-1]).logits  # padding comes last, so no token sees it
        nats = F.cross_entropy(logits.flatten(0, 1).float(), some[:, 1:].flatten(), reduction="none")
        sums[rows] = (
            (nats.view(some.shape[0], -1) * mask[rows, :longest].to(device)).sum(1).double().cpu().numpy()
        )
    return sums, mask.sum(1).double().numpy()


def domain_nats(
    lm: Any, texts: Sequence[str], domains: Sequence[str], names: Sequence[str], context: int
) -> Float[np.ndarray, " domains"]:
    """Nats per token of each domain's texts together; NaN for a domain without any token."""
    sums, counts = window_nats(lm, texts, context)
    own = np.array([[one == name for one in domains] for name in names], dtype=float)
    with np.errstate(invalid="ignore"):
        return (own @ sums) / (own @ counts)


def perplexity_rise(
    nats: Float[np.ndarray, "rows domains"], base: Float[np.ndarray, " domains"]
) -> Float[np.ndarray, "rows domains"]:
    """Increase of perplexity in %."""
    return 100 * np.expm1(nats - base)


def silence(chosen: Bool[Tensor, "layers neurons"]) -> dict[str, Tensor]:
    """The neurons as a brick of kind ``neurons`` has them: their numbers, by layer."""
    return {
        f"layers.{layer}.ffn": row.nonzero().flatten() for layer, row in enumerate(chosen) if bool(row.any())
    }


@contextmanager
def silenced(lm: Any, chosen: Bool[Tensor, "layers neurons"]) -> Iterator[None]:
    """``lm`` without the chosen neurons while entered."""
    changes: Changes = {name: {tuple(numbers.tolist()): "zero"} for name, numbers in silence(chosen).items()}
    with ablate(lm, changes):
        yield


@contextmanager
def thinned(lm: Any, share: float, by: Indicator, generator: torch.Generator) -> Iterator[None]:
    """``lm`` with the lowest ``share`` of each layer's neurons left out, chosen afresh for every token.

    ``by``: |a_i|; the ``magnitude`` of what it adds, |a_i|·‖v_i‖₂; or by chance.
    """
    with ExitStack() as stack:
        for place in find_places(lm).choose("ffn"):
            stack.callback(_thin(place, share, by, generator).remove)
        yield


def _thin(place: Place, share: float, by: Indicator, generator: torch.Generator) -> Any:
    norms = place.weight().detach()[:, 0].norm(dim=-1)
    count = round(share * place.parts)

    def leave_out(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        x = given[0]
        if count == 0:
            return given
        if by == "random":
            indicator = torch.rand(x.shape, generator=generator).to(x.device)
        else:
            indicator = x.abs() * norms if by == "magnitude" else x.abs()
        lowest = indicator.topk(count, dim=-1, largest=False, sorted=False).indices
        return (x.scatter(-1, lowest, 0.0), *given[1:])

    return place.module.register_forward_pre_hook(leave_out)
