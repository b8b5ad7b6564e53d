"""Other scores of heads: by gradient, by search, by learnt gates, and by what can be read from what heads give.

Shape legend: E prompts, L layers, H heads, N heads of all layers, D width.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.core.seeding import generator_for
from brickwork.modules.places import find_places
from brickwork.modules.recorder import Recorder, tap
from brickwork.systems.sae_circuits.codes import code_scores
from brickwork.systems.sae_circuits.effects import Head, heads_name, kl, score
from brickwork.systems.sae_circuits.subjects import Prompts, next_token, padded
from brickwork.systems.sae_circuits.system import System

THRESHOLDS = tuple(10.0**power for power in np.arange(0, -4.1, -0.5))
"""Of the search, in nats: how far the next token may move for a head that is given up."""
GATE_STEPS = 100
_GATES = (2 / 3, -0.1, 1.1)  # temperature and stretch (Louizos et al. 2018)
_GATE_RATE, _GATE_WEIGHT = 0.1, 0.05
_HASH_BITS = 8


def vectors(system: System, prompts: Prompts) -> Iterator[Float[np.ndarray, "prompts heads width"]]:
    """What the heads of each layer in turn give, as the codes see it."""
    config, model = system.config, system.subject.model
    with torch.no_grad(), Recorder(model, "heads", positions=config.positions) as record:
        for start in range(0, len(prompts), config.batch):
            model(*padded(prompts.ids[start : start + config.batch]))
    for layer in range(system.shape[0]):
        yield record[heads_name(layer)].numpy()


# ---- read from what heads give ----------------------------------------------------------------------------------


def raw_difference(system: System, prompts: Prompts) -> Float[np.ndarray, "layers heads"]:
    """‖μ₊ − μ₋‖, not over anything."""
    behaves = prompts.behaves
    return np.stack(
        [np.linalg.norm(x[behaves].mean(0) - x[~behaves].mean(0), axis=-1) for x in vectors(system, prompts)]
    )


def probe(system: System, prompts: Prompts) -> Float[np.ndarray, "layers heads"]:
    """How well a ridge classifier tells the label from a head, over three parts left out in turn; pairs stay together."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import GroupKFold, cross_val_score

    def accuracy(x: np.ndarray) -> float:
        spread = x.std()
        scaled = x / spread if spread > 0 else x
        parts = GroupKFold(3)
        return float(
            cross_val_score(
                RidgeClassifier(), scaled, prompts.behaves, groups=prompts.groups, cv=parts
            ).mean()
        )

    return np.array([[accuracy(own) for own in x.swapaxes(0, 1)] for x in vectors(system, prompts)])


def other_codes(system: System, prompts: Prompts) -> dict[str, Float[np.ndarray, "layers heads"]]:
    """The published score with other codes: the nearest of m means of the same few prompts, and signs of projections."""
    from sklearn.cluster import KMeans

    every = np.stack(list(vectors(system, prompts)), axis=1)  # (E, L, H, D)
    generator = generator_for(system.seed, 0, "other codes")
    chosen = torch.randperm(len(prompts), generator=generator)[: system.config.code_prompts].numpy()
    some = every[chosen].reshape(-1, every.shape[-1])
    means = KMeans(min(system.config.latents, len(some) // 2), n_init=1, random_state=system.seed).fit(some)
    planes = torch.randn(every.shape[-1], _HASH_BITS, generator=generator).numpy()
    flat = every.reshape(-1, every.shape[-1])
    codes = {
        "k-means codes": means.predict(flat),
        "hash codes": ((flat - some.mean(0)) @ planes > 0) @ (1 << np.arange(_HASH_BITS)),
    }
    shape = every.shape[:3]
    return {
        name: code_scores(own.reshape(shape[0], -1), prompts.behaves)["published"].reshape(shape[1:])
        for name, own in codes.items()
    }


# ---- by gradient ------------------------------------------------------------------------------------------------


def _behaving(system: System, prompts: Prompts) -> Iterator[list[int]]:
    rows = np.flatnonzero(prompts.behaves).tolist()
    for start in range(0, len(rows), system.config.batch):
        yield rows[start : start + system.config.batch]


def _replacements(system: System, prompts: Prompts, rows: Sequence[int]) -> list[Tensor]:
    """What an ablated head gives in each layer instead, (H·s) or (B, T, H·s)."""
    layers, heads, size, _ = system.shape
    if system.config.ablation == "zero":
        return [torch.zeros(heads * size)] * layers
    if system.config.ablation == "mean":
        return [means.flatten() for means in system.means]
    partners = prompts.partners()
    model = system.subject.model
    with torch.no_grad(), Recorder(model, [heads_name(layer) for layer in range(layers)]) as record:
        model(*padded([prompts.ids[partners[row]] for row in rows]))
    return [record.inputs(heads_name(layer)).flatten(-2) for layer in range(layers)]


def attribution(system: System, prompts: Prompts) -> Float[np.ndarray, "layers heads"]:
    """|mean over prompts with the behaviour of ∂m/∂z · (z̄ − z)|, summed over tokens: one backward pass (Nanda 2023)."""
    model = system.subject.model
    layers, heads, size, _ = system.shape
    places = find_places(model)
    total, count = torch.zeros(layers, heads), 0
    for own in _behaving(system, prompts):
        ids, mask = padded([prompts.ids[row] for row in own])
        instead = _replacements(system, prompts, own)
        with torch.enable_grad():
            embedded = model.embed(ids).detach().requires_grad_()
            with ExitStack() as stack:
                taps = [tap(places[heads_name(layer)].module) for layer in range(layers)]
                seen = [stack.enter_context(one) for one in taps]
                logits = model(mask=mask, inputs_embeds=embedded).logits[
                    torch.arange(len(own)), mask.sum(1) - 1
                ]
            m = score(logits.float().log_softmax(-1), prompts, own).sum()
            inputs = [layer[0] for layer in seen]
            gradients = torch.autograd.grad(m, inputs)
        for layer, (z, gradient) in enumerate(zip(inputs, gradients)):
            moved = (instead[layer] - z) * gradient * mask[..., None]
            total[layer] += moved.unflatten(-1, (heads, size)).sum((0, 1, 3)).detach()
        count += len(own)
    return (total / count).abs().numpy()


# ---- by search --------------------------------------------------------------------------------------------------


def acdc(system: System, prompts: Prompts) -> Float[np.ndarray, "layers heads"]:
    """At how many of :data:`THRESHOLDS` a head is kept, by a greedy search from the last head to the first: it is given up
    for good if without it the next token moves by less than the threshold (Conmy et al. 2023, on heads, not edges)."""
    layers, heads, _, _ = system.shape
    moved = _mover(system, prompts)
    kept = np.zeros((layers, heads))
    for threshold in THRESHOLDS:
        gone: list[Head] = []
        before = 0.0
        for head in ((layer, head) for layer in reversed(range(layers)) for head in range(heads)):
            after = moved([*gone, head])
            if after - before < threshold:
                gone, before = [*gone, head], after
            else:
                kept[head] += 1
    return kept


def _mover(system: System, prompts: Prompts) -> Callable[[Sequence[Head]], float]:
    """Mean KL, over the prompts with the behaviour, from the whole model to the one without some heads."""
    ablations = system._ablations(prompts)
    batches = []
    for rows, donors in ablations.batches_with_donors(range(system.shape[0])):
        chosen = [place for place, row in enumerate(rows) if prompts.behaves[row]]
        if chosen:
            own = [rows[place] for place in chosen]
            whole = next_token(system.subject.model, [prompts.ids[row] for row in own])
            batches.append((own, {name: x[chosen] for name, x in donors.items()}, whole))
    count = int(prompts.behaves.sum())

    def moved(gone: Sequence[Head]) -> float:
        return (
            sum(float(kl(whole, ablations.without(own, gone, x)).sum()) for own, x, whole in batches) / count
        )

    return moved


# ---- by learnt gates --------------------------------------------------------------------------------------------


def gates(system: System, prompts: Prompts) -> Float[np.ndarray, "layers heads"]:
    """log α of a hard-concrete gate a head: what stays when as few as possible are open and the answer is kept ("SP", Cao
    et al. 2021; Louizos et al. 2018). A closed gate gives what an ablated head does."""
    layers, heads, _, _ = system.shape
    generator = generator_for(system.seed, 0, "gates")
    openness = torch.full((layers, heads), 1.0, requires_grad=True)
    optimizer = torch.optim.Adam([openness], lr=_GATE_RATE)
    temperature, low, high = _GATES
    batches = [(rows, _replacements(system, prompts, rows)) for rows in _behaving(system, prompts)]
    for step in range(GATE_STEPS):
        rows, instead = batches[step % len(batches)]
        u = torch.rand(layers, heads, generator=generator).clamp(1e-6, 1 - 1e-6)
        with torch.enable_grad():
            drawn = torch.sigmoid((u.logit() + openness) / temperature)
            gate = (drawn * (high - low) + low).clamp(0, 1)
            with _gated(system, gate, instead):
                kept = score(_next(system, prompts, rows), prompts, rows).mean()
            still_open = torch.sigmoid(openness - temperature * math.log(-low / high)).sum()
            loss = -kept + _GATE_WEIGHT * still_open
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    return openness.detach().numpy()


def _next(system: System, prompts: Prompts, rows: Sequence[int]) -> Float[Tensor, "batch vocabulary"]:
    """:func:`next_token` with a gradient."""
    ids, mask = padded([prompts.ids[row] for row in rows])
    logits = system.subject.model(ids, mask).logits
    return logits[torch.arange(len(rows)), mask.sum(1) - 1].float().log_softmax(-1)


@contextmanager
def _gated(system: System, gate: Float[Tensor, "layers heads"], instead: Sequence[Tensor]) -> Iterator[None]:
    """Heads give gate · z + (1 − gate) · z̄ while the context lasts."""
    size = system.shape[2]
    places = find_places(system.subject.model)
    with ExitStack() as stack:
        for layer, z_bar in enumerate(instead):
            share = gate[layer].repeat_interleave(size)

            def mixed(_: Any, given: Any, share: Tensor = share, z_bar: Tensor = z_bar) -> Any:
                return (share * given[0] + (1 - share) * z_bar, *given[1:])

            handle = places[heads_name(layer)].module.register_forward_pre_hook(mixed)
            stack.callback(handle.remove)
        yield
