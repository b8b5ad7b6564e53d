"""Serving with a share of the groups: computed alone, or the rest masked, against the whole model.

MiniLM as `emoe`'s recipe `small` has it (untrained head and gates; weights do not matter for the time), texts of 60 words,
the last two layers in 32 groups, and all six. Every number of groups is computed in both ways: ``masked`` multiplies all and
zeroes, ``gathered`` multiplies what each token uses. All arms take turns in every round of one process, on one thread;
processor time, and the median over rounds counts. The floor is the share of the FLOPs.

    python benchmarks/emoe.py [--rounds 5]
"""

import argparse
import random
import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from common import begin, environment, save

COUNTS = (2, 4, 8, 16)
GROUPS, TEXTS, WORDS = 32, 64, 60


def built(layers: tuple[int, ...]) -> Any:
    from brickwork.data.types import Examples, TaskData
    from brickwork.representation.contract import build_system
    from brickwork.systems.emoe import recipes

    run = recipes.small()
    examples = Examples({"input": ["a", "b"], "label": [0, 1]})
    data = TaskData(
        name="none", kind="labelled", modality="text", train=examples, validation=examples, test=examples,
        num_classes=2, class_names=("a", "b"),
    )  # fmt: skip
    config = replace(run.model, groups=GROUPS, layers=layers)
    return build_system("emoe", config, data, seed=0).eval()


@torch.no_grad()
def measure(system: Any, rounds: int) -> dict[str, dict[str, float]]:
    from brickwork.data.types import Examples
    from brickwork.systems.emoe.gathered import gathered
    from brickwork.systems.emoe.serving import relative_flops

    rng = random.Random(0)
    texts = [
        " ".join(
            rng.choices(
                ["the", "of", "water", "stone", "river", "word", "made", "over", "under", "light"], k=WORDS
            )
        )
        for _ in range(TEXTS)
    ]
    rows = Examples({"input": texts, "label": [0] * TEXTS})
    ready = system.encoder.collate({"input": texts})["input"]
    arms = {"whole": lambda: system.used_groups(GROUPS)}
    for count in COUNTS:
        arms[f"{count} masked"] = lambda count=count: system.used_groups(count)
        arms[f"{count} gathered"] = lambda count=count: gathered(system.labels, system.gates_of(count))
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):
        for name, serving in arms.items():
            with serving():
                mark = time.process_time()
                system.logits(ready)
                if number:  # the first round warms up
                    seconds[name].append(time.process_time() - mark)
    found = {}
    for name, values in seconds.items():
        ratios = [whole / own for whole, own in zip(seconds["whole"], values)]
        found[name] = {
            "speed over whole": round(statistics.median(ratios), 3),
            "least": round(min(ratios), 3),
            "most": round(max(ratios), 3),
        }
    for count in COUNTS:
        found[f"{count} gathered"]["share of FLOPs"] = round(relative_flops(system, rows, count), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    begin()
    torch.set_num_threads(1)
    results = {
        name: measure(built(layers), options.rounds)
        for name, layers in (("last two layers", ()), ("all layers", (0, 1, 2, 3, 4, 5)))
    }
    save(
        "emoe",
        {
            **environment(),
            "groups": GROUPS,
            "texts": TEXTS,
            "words": WORDS,
            "rounds": options.rounds,
            "results": results,
        },
    )


if __name__ == "__main__":
    main()
