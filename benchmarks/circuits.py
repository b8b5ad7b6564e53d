"""Finding the heads of a circuit: CPU time and agreement beside exhaustive activation patching, in the same run.

SmolLM2-135M on indirect objects, one thread. Truth: every head ablated (its mean over prompts without the behaviour), on
one half of the prompts; a head is of the circuit where at least a twentieth of log p(answer) − log p(wrong) is lost or won.
Every method, exhaustive patching too, sees the other half alone, so that none is right by definition. ``attribution, tenth
ablated``: one backward pass puts the heads in order, and the first tenth of them are ablated.

    python benchmarks/circuits.py [--pairs 4]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

from common import begin, environment, save


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=4, help="of prompts, in each half (at least 4)")
    options = parser.parse_args()
    begin()

    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score

    from brickwork.data.types import Examples
    from brickwork.studies.sae_circuits.baselines import attribution
    from brickwork.systems.sae_circuits.config import Config
    from brickwork.systems.sae_circuits.data import Data, load_data
    from brickwork.systems.sae_circuits.effects import means_without, score
    from brickwork.systems.sae_circuits.subjects import Prompts, load_subject, next_token, read_prompts
    from brickwork.systems.sae_circuits.system import System

    torch.set_num_threads(1)
    data = load_data(Data(source="ioi", made_up=2 * options.pairs, validation_share=0.0, test_share=0.5), 0)
    subject = load_subject("smollm2-135m")
    system = System.looking_into(subject, Config(), data, 0)
    layers, heads, _, _ = system.shape

    def patched(prompts: Prompts, chosen: Any) -> Any:
        """|effect| of the heads of ``chosen``, a table of layers × heads; −1 of the others."""
        ablations = system._ablations(prompts)
        effect = np.zeros((layers, heads))
        for rows, donors in ablations.batches_with_donors([]):
            whole = score(next_token(subject.model, [prompts.ids[row] for row in rows]), prompts, rows)
            for layer, head in np.argwhere(chosen):
                after = ablations.without(rows, [(int(layer), int(head))], donors)
                effect[layer, head] += float((whole - score(after, prompts, rows)).sum())
        return np.where(chosen, np.abs(effect) / len(prompts), -1.0)

    def behaving(examples: Examples) -> Prompts:
        rows = np.flatnonzero(examples.columns["behaves"]).tolist()
        return read_prompts(subject, examples.select(rows).columns)

    seen, unseen = behaving(data.train), behaving(data.test)
    both = read_prompts(subject, data.train.columns)
    for layer, means in enumerate(means_without(subject.model, both, 16).values()):
        system.means[layer] = means
    every = np.ones((layers, heads), dtype=bool)
    rows = list(range(len(unseen)))
    whole = float(score(next_token(subject.model, unseen.ids), unseen, rows).mean())
    circuit = (patched(unseen, every) >= 0.05 * abs(whole)).flatten()

    def screened() -> Any:
        by = attribution(system, seen)
        first = by >= np.sort(by.flatten())[-max(1, by.size // 10)]
        exact = patched(seen, first)
        return np.where(first, by.max() + exact, by)  # those that were ablated come first

    def codes() -> Any:
        system._encode(both)
        return system.published.numpy()

    methods: dict[str, Callable[[], Any]] = {
        "exhaustive patching": lambda: patched(seen, every),
        "attribution": lambda: attribution(system, seen),
        "attribution, tenth ablated": screened,
        "codes (published score)": codes,
    }
    results: dict[str, dict[str, float]] = {}
    for name, run in methods.items():
        began = time.process_time()
        scores = run()
        took = time.process_time() - began
        results[name] = {"cpu seconds": took, "auc": float(roc_auc_score(circuit, scores.flatten()))}
    slowest = results["exhaustive patching"]["cpu seconds"]
    save(
        "circuits",
        {
            **environment(),
            "heads": layers * heads,
            "heads in the circuit": int(circuit.sum()),
            "prompts": {"seen": len(seen), "truth": len(unseen)},
            "methods": {
                name: {
                    "cpu seconds": round(one["cpu seconds"], 2),
                    "share of exhaustive": round(one["cpu seconds"] / slowest, 4),
                    "auc": round(one["auc"], 3),
                }
                for name, one in results.items()
            },
        },
    )


if __name__ == "__main__":
    main()
