"""What a trained language model of modules does on texts: how well it predicts them, and which modules serve them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.core.types import Trace
from brickwork.data.types import Examples
from brickwork.encoders.tokenization import token_windows
from brickwork.evaluation.usage import module_shares, normalised_information

if TYPE_CHECKING:
    from brickwork.systems.moduleformer.system import ModuleFormerSystem

_WINDOWS = 64
_BITS = 1 / np.log(2)


def _batches(
    system: "ModuleFormerSystem", texts: list[str], context: int
) -> Iterator[tuple[list[int], Tensor, Tensor, list[Tensor]]]:
    """(whose text, mask, nats, index of each mixture as (windows, tokens, K)) of 64 windows at a time."""
    ids, mask, owners = token_windows(system.tokenizer, texts, context)
    device = system.decoder.embedding.weight.device
    for start in range(0, len(ids), _WINDOWS):
        rows = slice(start, start + _WINDOWS)
        batch = {"ids": ids[rows].to(device), "mask": mask[rows].to(device)}
        with torch.no_grad():
            nats, routings = system(batch)
        index = [routed.index.view(*nats.shape, -1).cpu() for routed in routings]
        yield owners[rows], mask[rows], nats.cpu(), index


def token_nats(
    system: "ModuleFormerSystem", examples: Examples, context: int | None = None
) -> tuple[Float[np.ndarray, " texts"], Float[np.ndarray, " texts"]]:
    """The sum of −log p over the predicted tokens of each text, and their number; in windows of ``context`` tokens."""
    texts = list(examples.columns["input"])
    sums, counts = np.zeros(len(texts)), np.zeros(len(texts))
    for owners, mask, nats, _ in _batches(system, texts, context or system.config.context):
        np.add.at(sums, owners, nats.sum(1).double().numpy())
        np.add.at(counts, owners, mask.sum(1).double().numpy())
    return sums, counts


def module_use(
    system: "ModuleFormerSystem", examples: Examples
) -> tuple[dict[str, Float[np.ndarray, "texts _"]], dict[str, Float[np.ndarray, "_ _"]]]:
    """For each mixture the assignments of each module in each text, and its share at each place of a window."""
    texts = list(examples.columns["input"])
    mixtures = system.decoder.mixtures()
    context = system.config.context
    counts = {name: np.zeros((len(texts), half.router.num_modules)) for name, half in mixtures.items()}
    places = {name: np.zeros((context, half.router.num_modules)) for name, half in mixtures.items()}
    for owners, mask, _, index in _batches(system, texts, context):
        window, place = (part.numpy() for part in mask.nonzero(as_tuple=True))
        for name, chosen in zip(mixtures, index):
            modules = chosen[mask].numpy()  # (tokens, K)
            for column in modules.T:
                np.add.at(counts[name], (np.asarray(owners)[window], column), 1)
                np.add.at(places[name], (place, column), 1)
    reached = max((int(p.sum(1).nonzero()[0].max(initial=-1)) + 1 for p in places.values()), default=0)
    return counts, {name: module_shares(table[:reached]) for name, table in places.items()}


def evaluate_texts(system: "ModuleFormerSystem", examples: Examples) -> dict[str, float]:
    """Named numbers: see :meth:`ModuleFormerSystem.evaluate`."""
    sums, counts = token_nats(system, examples)
    characters = sum(len(text.encode("utf-8", "replace")) for text in examples.columns["input"])
    mean = float(sums.sum() / max(counts.sum(), 1))
    found = {
        "nats_per_token": mean,
        "perplexity": float(np.exp(min(mean, 50.0))),
        "bits_per_byte": float(sums.sum() * _BITS / max(characters, 1)),
    }
    domains = np.asarray(examples.columns.get("domain", []))
    names = sorted(set(domains.tolist()))
    if len(names) > 1:
        for name in names:
            rows = domains == name
            found[f"nats_per_token/{name}"] = float(sums[rows].sum() / max(counts[rows].sum(), 1))
    use, _ = module_use(system, examples)
    if use:
        shares = [table.sum(0) / max(table.sum(), 1) for table in use.values()]
        found["dead_modules"] = float(np.mean([(share < 0.1 / len(share)).mean() for share in shares]))
    if use and len(names) > 1:
        labels = domains.tolist()
        found["domain_information"] = max(normalised_information(table, labels) for table in use.values())
    return found


def trace_texts(system: "ModuleFormerSystem", examples: Examples) -> list[Trace]:
    """Traces of all mixtures: see :meth:`ModuleFormerSystem.trace`."""
    use, places = module_use(system, examples)
    domains = examples.columns.get("domain")
    # A text of one token predicts nothing, and so uses no module.
    used = next((table.sum(1) > 0 for table in use.values()), np.zeros(0, dtype=bool))
    domain = None if domains is None else tuple(str(d) for d, kept in zip(domains, used) if kept)
    return [
        Trace(
            name=name,
            modules=tuple(f"module {number}" for number in range(1, table.shape[1] + 1)),
            usage=module_shares(table[used]),
            time=places[name],
            domain=domain,
        )
        for name, table in use.items()
    ]
