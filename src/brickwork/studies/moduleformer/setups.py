"""The models that the claims of ModuleFormer compare, and what is measured of them.

Bytes of English prose (WikiText-2 small) and Python source (the standard library), mixed and never labelled. Two layers of
64 dimensions where two cores have to do; at ``gpu`` four of 128, the sheet's set-up. All arms have the optimiser and data
order of the ``claims`` recipe; only the model changes, and in C1, where quality is compared, the rate is chosen for each.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from brickwork.data.types import Examples
from brickwork.evaluation.usage import information_auc, information_test, normalised_information
from brickwork.representation.contract import build_system
from brickwork.studies.bench import Trained
from brickwork.studies.study import Lab, Scale
from brickwork.systems.moduleformer.system import module_use, token_nats
from brickwork.training.run import RunConfig

CODE = "code"
MIXED = ("stdlib",)  # with WikiText-2
STEPS = {"smoke": 40, "small": 1000, "gpu": 3000}
SHORT_STEPS = {"smoke": 40, "small": 400, "gpu": 3000}  # for losses and positions, which differ sooner
TUNING_STEPS = {"smoke": 20, "small": 400, "gpu": 1000}
LARGER = "the sheet's four layers of 128 dimensions and 3,000 steps, which scale gpu has"
WIDEST = 512
"""Feed-forward width of the dense model that is pruned."""


def base(
    scale: Scale, *, also: tuple[str, ...] = MIXED, steps: Mapping[str, int] = STEPS, **model: Any
) -> RunConfig:
    """The run that all arms are changes of."""
    from brickwork.systems.moduleformer.recipes import claims

    run = claims()
    if scale == "gpu":
        model = {
            "context": 128,
            "width": 128,
            "num_layers": 4,
            "attention_hidden": 64,
            "hidden": 128,
            **model,
        }
    return replace(
        run,
        model=replace(run.model, **model),
        data=replace(run.data, also=also, limit=2000 if scale == "smoke" else run.data.limit),
        train=replace(run.train, steps=steps[scale]),
    )


def dense(width: int) -> dict[str, Any]:
    """What makes a dense twin: as many query heads as a token chooses in the mixture, and ``width`` hidden units."""
    return {"attention_modules": 0, "feed_forward_modules": 0, "hidden": width}


def dense_width(lab: Lab, factor: float) -> int:
    """The feed-forward width at which a dense twin has ``factor`` times the layer FLOPs of the mixture, rounded up."""
    run = base(lab.scale)
    data = lab.bench.data(run)

    def flops(**model: Any) -> int:
        config = replace(run.model, **model)
        return build_system("moduleformer", config, data, 0).decoder.layer_flops(config.context // 2)

    start, a_unit = flops(**dense(1)), flops(**dense(2)) - flops(**dense(1))
    return 1 + math.ceil((factor * flops() - start) / a_unit)


def tuned(lab: Lab, **model: Any) -> RunConfig:
    """The run of an arm at the rate that suits it, chosen by validation texts in trainings of ``TUNING_STEPS``."""
    run = base(lab.scale, **model)
    pilot = replace(run, train=replace(run.train, steps=TUNING_STEPS[lab.scale]))
    rate = lab.bench.tuned(pilot, validation_score).train.learning_rate
    return replace(run, train=replace(run.train, learning_rate=rate))


# ---- what is measured ------------------------------------------------------------------------------------------


def mean_nats(system: Any, examples: Examples) -> float:
    """Nats per predicted byte."""
    sums, counts = token_nats(system, examples)
    return float(sums.sum() / counts.sum())


def of_domain(examples: Examples, domain: str) -> Examples:
    """The examples of one domain."""
    return examples.select([row for row, name in enumerate(examples.columns["domain"]) if name == domain])


def validation_score(trained: Trained) -> float:
    """The less nats per byte of validation texts, the better."""
    return -mean_nats(trained.system, trained.data.validation)


def held_out_nats(trained: Trained) -> float:
    """Nats per byte of test texts."""
    return mean_nats(trained.system, trained.data.test)


def last_nats(trained: Trained) -> dict[str, float]:
    """Nats of the last 32 of 257 tokens of test texts, given 64, 128 or 256 tokens before the last.

    A text is four neighbouring pieces of a domain.
    """
    rows = []
    for name in sorted(set(trained.data.test.columns["domain"])):
        pieces = of_domain(trained.data.test, name).columns["input"]
        texts = ["".join(pieces[start : start + 4]) for start in range(0, len(pieces) - 3, 4)]
        rows += [trained.system.tokenizer.encode(text).ids[:257] for text in texts]
    ids = torch.tensor([row for row in rows if len(row) == 257])
    nats = {}
    for context in (64, 128, 256):
        total = 0.0
        for part in ids[:, -(context + 1) :].split(32):
            with torch.no_grad():
                each, _ = trained.system(
                    {"ids": part, "mask": torch.ones(len(part), context, dtype=torch.bool)}
                )
            total += float(each[:, -32:].double().sum())
        nats[f"{context} tokens"] = total / (32 * len(ids))
    return nats


def usage(trained: Trained) -> dict[str, float]:
    """Of test texts: what the loss watches, the share of dead modules (mean over mixtures), nats per byte."""
    system, test = trained.system, trained.data.test
    with torch.no_grad():
        stats = {
            name: float(value) for name, value in system.loss(system.collate(test.columns)).stats.items()
        }
    scores = system.evaluate(test)
    return {**stats, "dead": scores["dead_modules"], "nats": scores["nats_per_token"]}


def specialisation(trained: Trained) -> dict[tuple[str, str], float]:
    """(mixture, measure) → what the use of its modules tells of the domain of a test text, after training and before."""
    test = trained.data.test
    untrained = build_system("moduleformer", trained.system.config, trained.data, trained.seed).eval()
    domains = [str(name) for name in test.columns["domain"]]
    before, after = (module_use(system, test)[0] for system in (untrained, trained.system))
    values: dict[tuple[str, str], float] = {}
    for mixture, counts in after.items():
        result = information_test(counts, domains)
        values[mixture, "NMI"] = result.information
        values[mixture, "by chance"] = result.by_chance
        values[mixture, "p"] = result.p_value
        values[mixture, "at init"] = normalised_information(before[mixture], domains)
        values[mixture, "AUC"] = information_auc(counts, domains)
        values[mixture, "AUC at init"] = information_auc(before[mixture], domains)
    return values


def best_mixture(trained: Trained) -> dict[str, float]:
    """Of the mixture of the largest NMI: how far it is above the best before training, and its p; and the best AUC, after
    training and before."""
    values = trained.measured(specialisation)
    mixtures = list(dict.fromkeys(mixture for mixture, _ in values))
    best = max(mixtures, key=lambda mixture: values[mixture, "NMI"])
    return {
        "gain": values[best, "NMI"] - max(values[mixture, "at init"] for mixture in mixtures),
        "p": values[best, "p"],
        **{what: max(values[mixture, what] for mixture in mixtures) for what in ("AUC", "AUC at init")},
    }
