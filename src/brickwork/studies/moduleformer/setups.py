"""The models that the claims of ModuleFormer compare, and what is measured of them.

Two layers of 64 dimensions on bytes of English prose (WikiText-2 small) and Python source (the standard library), mixed and
never labelled. All arms have the optimiser, rate, steps and data order of the ``claims`` recipe (of ``smoke``: the toy
language); only the model changes.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from brickwork.data.types import Examples
from brickwork.evaluation.usage import information_auc, information_test
from brickwork.studies.bench import Trained
from brickwork.studies.study import Scale
from brickwork.systems.moduleformer.system import module_use, token_nats
from brickwork.training.run import RunConfig

CODE = "code"
MIXED = ("stdlib",)  # with WikiText-2
# Of quality, domains and surgery; of losses and positions, which show sooner; of training that goes on.
STEPS: dict[str, int] = {"smoke": 40, "small": 1000, "gpu": 3000}
SHORT_STEPS: dict[str, int] = {"smoke": 40, "small": 400, "gpu": 3000}
MORE_STEPS: dict[str, int] = {"smoke": 20, "small": 200, "gpu": 1000}
LARGER = "more width, depth and training than two cores give"
# Feed-forward widths of dense twins; the first has the active parameters of the mixture (2 modules of 64).
DENSE_WIDTHS = (128, 256, 512)


def base(
    scale: Scale, *, also: tuple[str, ...] = MIXED, steps: Mapping[str, int] = STEPS, **model: Any
) -> RunConfig:
    """The run that all arms are changes of."""
    from brickwork.systems.moduleformer.recipes import claims

    run = claims()
    return replace(
        run,
        model=replace(run.model, **model),
        data=replace(run.data, also=also, limit=2000 if scale == "smoke" else run.data.limit),
        train=replace(run.train, steps=steps[scale]),
    )


def dense(width: int) -> dict[str, Any]:
    """What makes a dense twin: as many query heads as a token chooses in the mixture, and ``width`` hidden units."""
    return {"attention_modules": 0, "feed_forward_modules": 0, "hidden": width}


# ---- what is measured ------------------------------------------------------------------------------------------


def mean_nats(system: Any, examples: Examples) -> float:
    """Nats per predicted byte."""
    sums, counts = token_nats(system, examples)
    return float(sums.sum() / counts.sum())


def of_domain(examples: Examples, domain: str) -> Examples:
    """The examples of one domain."""
    return examples.select([row for row, name in enumerate(examples.columns["domain"]) if name == domain])


def domains_of(examples: Examples) -> list[str]:
    """The domain of each example."""
    return [str(name) for name in examples.columns["domain"]]


def windows_of(examples: Examples, pieces: int) -> Examples:
    """Neighbouring pieces of a domain joined, ``pieces`` at a time: longer texts to test longer contexts."""
    inputs, domains = examples.columns["input"], examples.columns["domain"]
    texts, names = [], []
    for name in sorted(set(domains)):
        rows = [row for row, domain in enumerate(domains) if domain == name]
        for start in range(0, len(rows) - pieces + 1, pieces):
            texts.append("".join(inputs[row] for row in rows[start : start + pieces]))
            names.append(name)
    return Examples({"input": texts, "domain": names})


def held_out_nats(trained: Trained) -> float:
    """Nats per byte of test texts."""
    return mean_nats(trained.system, trained.data.test)


def last_nats(trained: Trained) -> dict[str, float]:
    """Nats of the last 32 of 257 tokens of test texts, given 64, 128 or 256 tokens before the last."""
    texts = windows_of(
        trained.data.test, 4
    )  # a neighbouring text of the same tokens at the end, with more before them
    rows = [trained.system.tokenizer.encode(text).ids[:257] for text in texts.columns["input"]]
    full = [row for row in rows if len(row) == 257]
    return {f"{context} tokens": _last(trained.system, full, context) for context in (64, 128, 256)}


def _last(system: Any, rows: list[list[int]], context: int) -> float:
    ids = torch.tensor([row[-(context + 1) :] for row in rows])
    sums = 0.0
    with torch.no_grad():
        for part in ids.split(32):
            nats, _ = system({"ids": part, "mask": torch.ones(len(part), context, dtype=torch.bool)})
            sums += float(nats[:, -32:].double().sum())
    return sums / (32 * max(len(ids), 1))


def usage(trained: Trained) -> dict[str, float]:
    """Of test texts: what the loss watches, the share of dead modules (mean over mixtures), nats per byte."""
    system, test = trained.system, trained.data.test
    with torch.no_grad():
        stats = {n: float(v) for n, v in system.loss(system.collate(test.columns)).stats.items()}
    shares = [table.sum(0) / table.sum() for table in module_use(system, test)[0].values()]
    dead = float(np.mean([(share < 0.1 / len(share)).mean() for share in shares]))
    return {**stats, "dead": dead, "nats": mean_nats(system, test)}


def specialisation(trained: Trained) -> dict[tuple[str, str], float]:
    """(mixture, number) → what its modules know of the domain of a test text, after training and before."""
    from brickwork.representation.contract import build_system

    test = trained.data.test
    untrained = build_system("moduleformer", trained.system.config, trained.data, trained.seed).eval()
    labels = domains_of(test)
    before, after = (module_use(system, test)[0] for system in (untrained, trained.system))
    numbers: dict[tuple[str, str], float] = {}
    for mixture, counts in after.items():
        test_of_use = information_test(counts, labels)
        start = information_test(before[mixture], labels, permutations=0).information
        numbers |= {
            (mixture, "NMI"): test_of_use.information,
            (mixture, "by chance"): test_of_use.by_chance,
            (mixture, "p"): test_of_use.p_value,
            (mixture, "at init"): start,
            (mixture, "AUC"): information_auc(counts, labels),
        }
    return numbers


def best_mixture(trained: Trained) -> dict[str, float]:
    """Of the mixture that knows most: NMI above the best before training, and its p; the best AUC of all mixtures."""
    numbers = trained.measured(specialisation)
    mixtures = list(dict.fromkeys(mixture for mixture, _ in numbers))
    best = max(mixtures, key=lambda mixture: numbers[mixture, "NMI"])
    return {
        "gain": numbers[best, "NMI"] - max(numbers[mixture, "at init"] for mixture in mixtures),
        "p": numbers[best, "p"],
        "AUC": max(numbers[mixture, "AUC"] for mixture in mixtures),
    }
