"""Reads a table, trains, saves, loads, encodes, indexes, searches and resumes; prints what came out as JSON.

Run by test_surroundings.py in a process of its own: ``FOLDER [--no-network] [--wild-clock]``.
"""

import json
import random
import socket
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


def no_network() -> None:
    """Every connection fails, to this machine too."""

    def refuse(*_, **__):
        raise OSError(101, "Network is unreachable")

    socket.socket.connect = refuse
    socket.getaddrinfo = refuse


def wild_clock() -> None:
    """The time of day jumps by up to a year at every look, backwards too."""
    now, rng = time.time, random.Random(1)
    time.time = lambda: now() + rng.uniform(-3e7, 3e7)


def main(folder: Path) -> dict:
    import torch

    torch.set_num_threads(1)
    import artifacts

    from brickwork.api import index as indexing
    from brickwork.api import train as api
    from brickwork.core.config import override
    from brickwork.index.index import open_index

    table = folder / "pairs.jsonl"
    rows = [{"query": f"query {n} İstanbul", "text": text} for n, text in enumerate(artifacts.texts(80))]
    table.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    settings = [f"data.source={table}", "train.steps=4", "train.save_every=2", "train.batch_size=8"]
    settings += ["train.precision=fp32", "train.device=cpu", "model.encoder.max_tokens=128"]
    settings += ["model.encoder.width=32", "model.encoder.vocab_size=300", "model.encoder.num_layers=2"]
    run = override(api.recipe("matryoshka", "scratch"), settings)
    summary = api.train(run, folder / "run", measure=False)
    again = api.resume(folder / "run")
    model = indexing.build_index(folder / "run", table, folder / "index", kind="int8").representation
    with open_index(folder / "index") as index:
        hits = index.search(["seven small birds", "query 7 istanbul"], 5)
        kinds = list(index.statistics().kinds)
        documents = [[d.id, d.text, d.source] for d in index.backend.documents()]
    vectors = model.encode(artifacts.texts(5, seed=3), precision="fp32")
    weights = torch.cat([p.detach().flatten() for p in model.encoder.parameters()])
    return {
        "losses": summary.result.losses,
        "steps": [summary.result.step, again.result.step],
        "vectors": vectors.tolist(),
        "weights": [float(weights.sum()), float(weights.abs().max())],
        "hits": [[hit.id for hit in results] for results in hits],
        "documents": documents,
        "kinds": kinds,
    }


if __name__ == "__main__":
    for name, begin in (("--no-network", no_network), ("--wild-clock", wild_clock)):
        if name in sys.argv:
            begin()
    print(json.dumps(main(Path(sys.argv[1]))))
