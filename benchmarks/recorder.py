"""Recording what heads, neurons and the residual stream do: CPU time against the plain pass, and memory for many texts.

Time: MiniLM on batches of texts of 5 to 60 words, one thread, arms in turn; the median over rounds of each arm's ratio to
the plain pass of the same round. Memory: growth of a process while texts run through, beside what is kept of them, as it is
and with glibc told to give large tensors back at once (what is held, without the holes between freed tensors).

    python benchmarks/recorder.py [--rounds 3] [--texts 800]
"""

import argparse
import contextlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from common import begin, environment, save

ARMS: dict[str, tuple[Any, str]] = {
    "heads, mean": ("heads", "mean"),
    "heads, last": ("heads", "last"),
    "ffn, mean": ("ffn", "mean"),
    "ffn, overall": ("ffn", "overall"),
    "residual, mean": ("residual", "mean"),
    "all three, mean": (("heads", "ffn", "residual"), "mean"),
    "heads, all": ("heads", "all"),
}
WORDS = ["data", "model", "vector", "search", "query", "layer", "token", "index", "train", "error", "value"]


def texts(count: int) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(5, 60))) for _ in range(count)]


def minilm() -> Any:
    import torch

    from brickwork.encoders.build import TextEncoderConfig, build_text_encoder

    torch.set_num_threads(1)
    return build_text_encoder(TextEncoderConfig()).eval()


def ratios(rounds: int) -> dict[str, Any]:
    """CPU time of each arm over that of the plain pass."""
    import torch

    from brickwork.modules.recorder import Recorder

    encoder = minilm()
    batches = [encoder.tokenize(texts(96)[start : start + 32]) for start in range(0, 96, 32)]

    def seconds(recorder: Any) -> float:
        start = time.process_time()
        with torch.no_grad(), recorder or contextlib.nullcontext():
            for batch in batches:
                encoder(batch, [encoder.num_layers])
        return time.process_time() - start

    seconds(None)
    seen: dict[str, list[float]] = {name: [] for name in ARMS}
    for _ in range(rounds):
        plain = seconds(None)
        for name, (what, positions) in ARMS.items():
            seen[name].append(seconds(Recorder(encoder, what, positions=positions)) / plain)
    return {
        name: {"median": round(statistics.median(own), 3), "range": [round(min(own), 3), round(max(own), 3)]}
        for name, own in seen.items()
    }


def child(name: str, count: int) -> dict[str, float]:
    """How far the peak memory of this process rose for ``count`` texts, and what was kept of them, in MB."""
    import torch

    from brickwork.modules.recorder import Recorder

    encoder = minilm()
    all_texts = texts(count)

    def run(some: list[str]) -> None:
        for start in range(0, len(some), 32):
            encoder(encoder.tokenize(some[start : start + 32]), [encoder.num_layers])

    with torch.no_grad():
        run(all_texts[:200])  # what is allocated once
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if name == "plain":
            run(all_texts)
            kept = 0
        else:
            what, positions = ARMS[name]
            with Recorder(encoder, what, positions=positions) as record:
                run(all_texts)
            kept = sum(4 * record.inputs(own).numel() for own in record.names())
            del record
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"grew_mb": round((peak - before) / 1024, 1), "kept_mb": round(kept / 2**20, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=800)
    parser.add_argument("--child", default="")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.texts)))
        return
    begin()
    memory = {}
    for name in ("plain", "heads, mean", "ffn, overall"):
        command = [sys.executable, __file__, "--child", name, "--texts", str(options.texts)]
        for how, setting in (("", {}), (", large tensors given back", {"MALLOC_MMAP_THRESHOLD_": "1048576"})):
            run = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **setting}
            )
            memory[name + how] = json.loads(run.stdout)
    save(
        "recorder",
        {
            **environment(),
            "cpu time over the plain pass": ratios(options.rounds),
            f"memory, {options.texts:,} texts": memory,
        },
    )


if __name__ == "__main__":
    main()
