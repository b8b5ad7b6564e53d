"""What a search over ranks costs: one DyLoRA training against ordinary LoRA at every rank; and the time of a step.

All arms adapt MiniLM (queries and values) to two classes on the same batches: 16 texts of 32 tokens, forward, backward and
AdamW's update, in one process, in turn (A B C A B C …). The ratios compare arms of one round; their median is what counts.
Seconds are the processor's, of one thread: what a step costs, whatever else the machine is doing.
``peft`` is Hugging Face's LoRA of rank 8 on the same backbone with the same classifier.

    python benchmarks/dylora.py [--rounds 7] [--steps 4]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from common import begin, environment, save

SEARCH = (1, 2, 4, 8, 16, 32, 64)
BATCH, TOKENS = 16, 32


def data():
    """Random texts of two classes, long enough that all tokens are used."""
    from brickwork.data.generators.toy_text import toy_pairs
    from brickwork.data.types import Examples, TaskData

    texts = [f"{a} {b} {a} {b} {a}" for a, b in toy_pairs(256, 0)]
    examples = Examples({"input": texts, "label": [row % 2 for row in range(len(texts))]})
    parts = dict.fromkeys(("train", "validation", "test"), examples)
    return TaskData(name="toy", kind="labelled", modality="text", num_classes=2, **parts)


def arm(task, **model) -> Callable[[int], None]:
    """One update of our system at a step."""
    from brickwork.representation.contract import build_system
    from brickwork.systems.dylora.config import DyloraConfig

    torch.manual_seed(0)
    system = build_system("dylora", DyloraConfig(max_tokens=TOKENS, **model), task, 0).train()
    return stepper(
        [p for p in system.parameters() if p.requires_grad],
        lambda step: system.loss({**system.collate(rows(task, step)), "step": step}).total,
    )


def peft_arm(task, rank: int) -> Callable[[int], None]:
    """The same with peft's LoRA."""
    import peft

    from brickwork.encoders.build import load_published_encoder

    torch.manual_seed(0)
    encoder = load_published_encoder("minilm", None, TOKENS)
    settings = peft.LoraConfig(r=rank, lora_alpha=16, target_modules=["query", "value"])
    encoder.body.model = peft.get_peft_model(encoder.body.model, settings)
    encoder.body._path = f"base_model.model.{encoder.body._path}"
    head = nn.Linear(encoder.embedding_dim, 2)
    encoder.train()

    def loss(step: int) -> torch.Tensor:
        columns = rows(task, step)
        vectors = encoder(encoder.tokenize(columns["input"]), [encoder.num_layers])[encoder.num_layers]
        return nn.functional.cross_entropy(head(vectors), torch.tensor(columns["label"]))

    return stepper([*(p for p in encoder.parameters() if p.requires_grad), *head.parameters()], loss)


def rows(task, step: int) -> dict:
    start = step * BATCH % (len(task.train) - BATCH)
    return task.train.take(range(start, start + BATCH))


def stepper(parameters, loss: Callable[[int], torch.Tensor]) -> Callable[[int], None]:
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def update(step: int) -> None:
        optimiser.zero_grad()
        loss(step).backward()
        optimiser.step()

    return update


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    begin()
    torch.set_num_threads(1)
    task = data()
    arms = {"DyLoRA r=64": arm(task, rank=64), "DyLoRA r=8": arm(task, rank=8)}
    arms |= {"DyLoRA r=8 frozen": arm(task, rank=8, update="frozen"), "peft LoRA 8": peft_arm(task, 8)}
    arms |= {f"LoRA {b}": arm(task, rank=b, sampler="full") for b in SEARCH}
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(options.rounds + 1):
        for name, update in arms.items():
            began = time.process_time()
            for step in range(options.steps):
                update(turn * options.steps + step)
            if turn:  # the first round warms up
                seconds[name].append((time.process_time() - began) / options.steps)

    def ratio(a: list[float], b: list[float]) -> dict[str, float]:
        values = [x / y for x, y in zip(a, b)]
        return {
            name: round(f(values), 3)
            for name, f in (("median", statistics.median), ("min", min), ("max", max))
        }

    total = [sum(parts) for parts in zip(*(seconds[f"LoRA {b}"] for b in SEARCH))]
    four = [sum(parts) for parts in zip(*(seconds[f"LoRA {b}"] for b in (1, 2, 4, 8)))]
    save("dylora", {
        **environment(),
        "threads": 1, "batch": BATCH, "tokens": TOKENS, "rounds": options.rounds, "steps": options.steps,
        "processor milliseconds a step": {name: round(1000 * statistics.median(s), 1) for name, s in seconds.items()},
        "search cost, LoRA at 1, 2, 4, 8, 16, 32, 64 / DyLoRA r=64, equal steps": ratio(total, seconds["DyLoRA r=64"]),
        "search cost, LoRA at 1, 2, 4, 8 / DyLoRA r=8, equal steps": ratio(four, seconds["DyLoRA r=8"]),
        "step time, DyLoRA r=64 / LoRA 64": ratio(seconds["DyLoRA r=64"], seconds["LoRA 64"]),
        "step time, DyLoRA r=8 / LoRA 8": ratio(seconds["DyLoRA r=8"], seconds["LoRA 8"]),
        "step time, DyLoRA r=8 / peft LoRA 8": ratio(seconds["DyLoRA r=8"], seconds["peft LoRA 8"]),
    })  # fmt: skip


if __name__ == "__main__":
    main()
