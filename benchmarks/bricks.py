"""Parts of models as groups and bricks: clustering neurons, merging changes, finding the brick of a request.

- **clustering**: 3,072 keys of 768 dimensions into 64 groups, random and MiniLM-like clustered keys: ``balanced_groups``
  (groups of one size) beside scikit-learn's ``KMeans`` (of any size, one start from k-means++), processor time and the sum
  of squared distances to the mean of the group.
- **merging, dense**: three changes of ``--gigabytes`` each, in matrices of 1,024 × 1,024: ``modules.merging`` beside peft's
  own functions, tensor by tensor. **merging, adapters**: three LoRA adapters of rank 8 on the queries and values of 30
  layers: a merged brick (dense) beside ``add_weighted_adapter`` (factors, or a decomposition of the dense change). Seconds,
  and by how much the peak of the process grew; each arm in a process of its own.
- **routing**: one request of 20 words on SmolLM2-135M: its vector, the keys of 10 and 100 bricks, and, to compare with, one
  pass of the base over the request.

One thread, processor time, median of ``--rounds``.

    python benchmarks/bricks.py [--rounds 3] [--gigabytes 0.25]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from common import begin, environment, save

NEURONS, WIDTH, GROUPS = 3072, 768, 64
CHANGES, SIDE, RANK, LAYERS = 3, 1024, 8, 30
LIBRARIES = (10, 100)
REQUEST = "How do I read a file line by line in Python and count the words that stand in each of its lines"


def seconds(run: Callable[[], Any], rounds: int) -> float:
    """Median processor time; the first call warms up."""
    run()
    taken = []
    for _ in range(rounds):
        mark = time.process_time()
        run()
        taken.append(time.process_time() - mark)
    return statistics.median(taken)


# ---- clustering --------------------------------------------------------------------------------------------------


def keys_of(kind: str) -> torch.Tensor:
    """Random directions, or 64 directions of different sizes with noise around them."""
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(NEURONS, WIDTH))
    if kind == "clustered":
        centres = rng.normal(size=(GROUPS, WIDTH))
        own = rng.choice(GROUPS, NEURONS, p=rng.dirichlet(np.full(GROUPS, 3.0)))
        keys += centres[own]
    return torch.nn.functional.normalize(torch.tensor(keys), dim=1)


def spread(keys: np.ndarray, labels: np.ndarray) -> float:
    """Σ |k − mean of its group|²."""
    return float(
        sum(
            ((keys[labels == g] - keys[labels == g].mean(0)) ** 2).sum() for g in range(GROUPS) if (labels == g).any()
        )
    )  # fmt: skip


def clustering(rounds: int) -> dict[str, Any]:
    from sklearn.cluster import KMeans

    from brickwork.modules.ffn_split import balanced_groups

    results = {}
    for kind in ("random", "clustered"):
        keys = keys_of(kind)
        plain = KMeans(GROUPS, n_init=1, random_state=0)
        ours = seconds(lambda keys=keys: balanced_groups(keys, GROUPS), rounds)
        theirs = seconds(lambda keys=keys, plain=plain: plain.fit(keys.numpy()), rounds)
        free = plain.labels_
        results[kind] = {
            "balanced, seconds": round(ours, 2),
            "KMeans, seconds": round(theirs, 2),
            "ratio": round(ours / theirs, 2),
            "balanced, sum of squares": round(spread(keys.numpy(), balanced_groups(keys, GROUPS).numpy()), 1),
            "KMeans, sum of squares": round(spread(keys.numpy(), free), 1),
            "KMeans, sizes of groups": [int(np.bincount(free).min()), int(np.bincount(free).max())],
        }
    return results


# ---- merging -----------------------------------------------------------------------------------------------------


def dense_arms(gigabytes: float) -> dict[str, Callable[[], Any]]:
    from peft.utils import merge_utils

    from brickwork.modules.merging import MergeConfig, merge

    matrices = max(1, round(gigabytes * 1e9 / (4 * SIDE * SIDE)))
    generator = torch.Generator().manual_seed(0)
    changes = [
        {f"layer {n}": torch.randn(SIDE, SIDE, generator=generator) for n in range(matrices)}
        for _ in range(CHANGES)
    ]
    ones = torch.ones(CHANGES)

    def peft(function: Any, *args: Any) -> dict[str, torch.Tensor]:
        return {name: function([change[name] for change in changes], ones, *args) for name in changes[0]}

    return {
        "task arithmetic": lambda: merge(changes, MergeConfig(method="task-arithmetic")),
        "task arithmetic, peft": lambda: peft(merge_utils.task_arithmetic),
        "TIES by tensor": lambda: merge(changes, MergeConfig(method="ties", scope="tensor")),
        "TIES by tensor, peft": lambda: peft(merge_utils.ties, 0.2),
        "TIES over the whole change": lambda: merge(changes, MergeConfig(method="ties")),
        "DARE": lambda: merge(changes, MergeConfig(method="dare")),
        "DARE, peft": lambda: peft(merge_utils.dare_linear, 0.5),
    }


def adapter_arms() -> dict[str, Callable[[], Any]]:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from brickwork.modules.bricks import Brick
    from brickwork.modules.merging import MergeConfig
    from brickwork.modules.mounting import combine

    sizes = {"hidden_size": 576, "num_hidden_layers": LAYERS, "num_attention_heads": 9}
    torch.manual_seed(0)
    config = LlamaConfig(**sizes, num_key_value_heads=3, intermediate_size=64, vocab_size=64)
    lora = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=["q_proj", "v_proj"], init_lora_weights=False
    )
    model = get_peft_model(LlamaForCausalLM(config), lora, adapter_name="0")
    names = [str(n) for n in range(CHANGES)]
    for name in names[1:]:
        model.add_adapter(name, lora)
    state = {name.removeprefix("base_model.model."): p.detach() for name, p in model.named_parameters()}

    def brick(name: str) -> Brick:
        endings = {f".lora_A.{name}.weight": ".A", f".lora_B.{name}.weight": ".B"}
        weights = {
            parameter.removesuffix(end) + ours: value
            for parameter, value in state.items()
            for end, ours in endings.items()
            if parameter.endswith(end)
        }
        return Brick(
            name=name, kind="lora", base="none", weights=weights, alpha=2.0 * RANK, scaling="alpha/b"
        )

    bricks = [(brick(name), 1.0) for name in names]

    def peft(how: str, **options: Any) -> None:
        if "merged" in model.peft_config:
            model.delete_adapter("merged")
        model.add_weighted_adapter(names, [1.0] * CHANGES, "merged", combination_type=how, **options)

    return {
        "task arithmetic": lambda: combine(bricks, MergeConfig(method="task-arithmetic")),
        "TIES by tensor": lambda: combine(bricks, MergeConfig(method="ties", scope="tensor")),
        "factors added, peft (linear)": lambda: peft("linear"),
        "factors side by side, peft (cat)": lambda: peft("cat"),
        "dense change decomposed, peft (svd)": lambda: peft("svd"),
        "TIES of factors, peft (ties)": lambda: peft("ties", density=0.2),
    }


def resident(which: str) -> int:
    """Bytes of this process: ``VmRSS`` now, ``VmHWM`` at most since the last reset."""
    with open("/proc/self/status", encoding="utf-8") as file:
        (line,) = (line for line in file if line.startswith(which))
    return 1024 * int(line.split()[1])


def one_arm(what: str, name: str, rounds: int, gigabytes: float) -> None:
    """In a process of its own: prints seconds, and bytes by which the peak grew in the first call."""
    torch.set_num_threads(1)
    arms = dense_arms(gigabytes) if what == "dense" else adapter_arms()
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")  # the peak begins anew
    before = resident("VmRSS")
    arms[name]()
    grown = resident("VmHWM") - before
    print(json.dumps({"seconds": seconds(arms[name], rounds), "bytes": grown}))


def merging(what: str, names: list[str], rounds: int, gigabytes: float) -> dict[str, Any]:
    results = {}
    for name in names:
        command = [sys.executable, __file__, "--arm", what, name, "--rounds", str(rounds)]
        done = subprocess.run(
            [*command, "--gigabytes", str(gigabytes)], capture_output=True, text=True, check=True
        )
        row = json.loads(done.stdout.splitlines()[-1])
        scale = 1 / gigabytes if what == "dense" else 1.0
        results[name] = {
            "seconds": round(row["seconds"] * scale, 3),
            "peak grew by GB": round(row["bytes"] / 1e9 * scale, 3),
        }
    return results


# ---- routing -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def routing(rounds: int) -> dict[str, Any]:
    from brickwork.encoders.causal_lm import load_causal_lm
    from brickwork.modules.bricks import Brick
    from brickwork.modules.model_hash import model_hash
    from brickwork.systems.configurable_foundation_models.routing import embed_texts, key_depth, route

    lm: Any = load_causal_lm("smollm2-135m").eval()
    depth = key_depth(lm)
    generator = torch.Generator().manual_seed(0)

    def brick(number: int) -> Brick:
        keys = {
            "key": torch.randn(lm.width, generator=generator),
            "centre": torch.randn(lm.width, generator=generator),
            "spread": torch.rand(lm.width, generator=generator) + 0.5,
            "threshold": torch.tensor([0.1, 0.2]),
        }
        weights = {"prompt": torch.zeros(1, lm.width)}
        return Brick(name=f"brick {number}", kind="prompt", base="none", weights=weights, keys=keys)

    libraries = {count: {f"brick {n}": brick(n) for n in range(count)} for count in LIBRARIES}
    request = embed_texts(lm, [REQUEST], depth)
    ids = torch.tensor([lm.tokenizer.encode(REQUEST).ids])
    results = {
        "tokens": int(ids.shape[1]),
        "layers for the vector": f"{depth} of {lm.num_layers}",
        "vector, ms": 1e3 * seconds(lambda: embed_texts(lm, [REQUEST], depth), rounds),
        "pass of the base, ms": 1e3 * seconds(lambda: lm(ids), rounds),
        "hash of the base, once a call, ms": 1e3 * seconds(lambda: model_hash(lm.model, lm.tokenizer), 1),
    }
    for count, library in libraries.items():
        results[f"{count} keys, ms"] = 1e3 * seconds(
            lambda library=library: route(request, library), 10 * rounds
        )
    whole = results["pass of the base, ms"]
    for count in LIBRARIES:
        both = results["vector, ms"] + results[f"{count} keys, ms"]
        results[f"share of a pass, {count} bricks"] = both / whole
    return {name: round(v, 3) if isinstance(v, float) else v for name, v in results.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gigabytes", type=float, default=0.25, help="of each dense change")
    parser.add_argument("--arm", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        one_arm(*options.arm, options.rounds, options.gigabytes)
        return
    begin()
    torch.set_num_threads(1)
    dense, adapters = list(dense_arms(0.001)), list(adapter_arms())
    save(
        "bricks",
        {
            **environment(),
            "rounds": options.rounds,
            "clustering": clustering(options.rounds),
            "merging, dense, for changes of 1 GB": merging("dense", dense, options.rounds, options.gigabytes),
            "merging, adapters": merging("adapters", adapters, options.rounds, options.gigabytes),
            "routing": routing(options.rounds),
        },
    )


if __name__ == "__main__":
    main()
