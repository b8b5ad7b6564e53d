"""Memory of encoding to disk: the peak must not grow with the number of documents.

Each size runs in a process of its own that streams short texts through ``encode_to_disk``: with a static encoder
(100,000 documents take seconds, and what is kept of each would show) and with a small transformer.
What counts is the peak of the large run against that of the small one.

    python benchmarks/memory.py [--sizes 10000 100000]
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

from common import begin, environment, save

WORDS = ["data", "model", "vector", "search", "query", "layer", "token", "index", "train", "error", "value"]


def stream(count: int) -> Iterator[str]:
    rng = random.Random(0)
    for _ in range(count):
        yield " ".join(rng.choices(WORDS, k=rng.randint(3, 20)))


def child(kind: str, count: int) -> dict[str, Any]:
    """Encodes ``count`` texts and reports resident memory in MB: before, and the peaks of both halves."""
    import psutil
    import torch

    from brickwork.core.elastic import ElasticAxes
    from brickwork.encoders.build import TextEncoderConfig, build_text_encoder
    from brickwork.representation.export_parquet import encode_to_disk
    from brickwork.representation.model import Representation

    torch.set_num_threads(1)
    shape = {"width": 64} | ({"num_layers": 1} if kind == "scratch" else {})
    config = TextEncoderConfig(backbone=kind, vocab_size=400, max_tokens=64, **shape)
    encoder = build_text_encoder(config, texts=list(stream(500))).eval()
    model = Representation(encoder, ElasticAxes(dims=(encoder.embedding_dim,), layers=(1,)))
    model.encode(list(stream(3000)))  # what is allocated once is not counted
    process, peaks, done = psutil.Process(), {"first": 0, "second": 0}, threading.Event()
    before, read = process.memory_info().rss, 0

    def watch() -> None:
        while not done.wait(0.005):
            half = "first" if read <= count // 2 else "second"
            peaks[half] = max(peaks[half], process.memory_info().rss)

    def counted() -> Iterator[str]:
        nonlocal read
        for text in stream(count):
            read += 1
            yield text

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        encode_to_disk(model, counted(), folder, shard_size=2000)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    megabytes = {name: round(value / 1e6, 1) for name, value in {"before": before, **peaks}.items()}
    return {**megabytes, "peak": max(megabytes.values()), "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--child", nargs=2, metavar=("KIND", "COUNT"))
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child[0], int(options.child[1]))))
        return
    begin()
    found: dict[str, Any] = {}
    for kind in ("static", "scratch"):
        for size in options.sizes:
            call = [sys.executable, __file__, "--child", kind, str(size)]
            done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
            found.setdefault(kind, {})[str(size)] = json.loads(done.stdout)
            print(kind, size, found[kind][str(size)], file=sys.stderr)
    growth = {
        kind: round(by_size[str(options.sizes[-1])]["peak"] - by_size[str(options.sizes[0])]["peak"], 1)
        for kind, by_size in found.items()
    }
    save("memory", {**environment(), "megabytes": found, "growth_of_the_peak_in_megabytes": growth})


if __name__ == "__main__":
    main()
