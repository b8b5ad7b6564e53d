"""Our vision transformer against transformers' on the same weights: encoding, and forward with backward.

Two models: one of the size that users fine-tune (ViT-Ti: 12 blocks of 192, 224 pixels, patch 16) and one as small networks
are here (6 blocks of 96, 32 pixels, patch 4). Arms take turns in each round; the median over rounds of each ratio counts.
The operations a second of ours stand beside the rate of a large matrix product.

    python benchmarks/vit.py [--rounds 7] [--threads 2]
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import ViTConfig, ViTModel

from brickwork.core.flops import count_flops
from brickwork.encoders.vit import ViT
from common import begin, environment, roofline, save

MODELS = {
    "ViT-Ti, 224 pixels, 8 images": (
        {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768, "image_size": 224},
        16,
        8,
    ),
    "6 blocks of 96, 32 pixels, 64 images": (
        {"hidden_size": 96, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 384, "image_size": 32},
        4,
        64,
    ),
}  # fmt: skip


def seconds(run: Callable[[], Any], repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) / repeat


def arms(theirs: ViTModel, ours: ViT, images: torch.Tensor) -> dict[str, Callable[[bool], None]]:
    """Name → a run, without or with a gradient."""

    def run(forward: Callable[[], torch.Tensor], model: torch.nn.Module, trains: bool) -> None:
        with contextlib.nullcontext() if trains else torch.no_grad():
            vector = forward()
        if trains:
            model.zero_grad()
            vector.float().square().mean().backward()

    return {
        "transformers": lambda trains: run(lambda: theirs(images).last_hidden_state[:, 0], theirs, trains),
        "brickwork": lambda trains: run(lambda: ours(images).vector, ours, trains),
    }


def compare(rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rates = {}
    for name, (sizes, patch, count) in MODELS.items():
        torch.manual_seed(0)
        theirs = ViTModel(ViTConfig(patch_size=patch, **sizes), add_pooling_layer=False).eval()
        ours = ViT.of(theirs).eval()
        images = torch.randn(count, 3, sizes["image_size"], sizes["image_size"])
        flops = count_flops(lambda model=ours, x=images: model(x))
        for precision in ("fp32", "bf16"):
            for trains in (False, True):
                both = arms(theirs, ours, images)
                times: dict[str, list[float]] = {arm: [] for arm in both}
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    for run in both.values():
                        run(trains)
                    for _ in range(rounds):
                        for arm, run in both.items():
                            times[arm].append(seconds(lambda r=run, t=trains: r(t), 3))
                ratios = [a / b for a, b in zip(times["transformers"], times["brickwork"])]
                what = f"{name}, {precision}, {'forward and backward' if trains else 'forward'}"
                found[what] = {
                    "times as fast as transformers": round(statistics.median(ratios), 2),
                    "range": [round(min(ratios), 2), round(max(ratios), 2)],
                    "milliseconds": round(1000 * statistics.median(times["brickwork"]), 1),
                }
                rates[what] = flops * (3 if trains else 1) / statistics.median(times["brickwork"])
    return {"ratios": found, **roofline(rates)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    begin()
    torch.set_num_threads(options.threads)
    save(
        "vit",
        {**environment(), "threads": options.threads, "rounds": options.rounds, **compare(options.rounds)},
    )


if __name__ == "__main__":
    main()
