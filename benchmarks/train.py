"""Training speed: our matryoshka-2d step against a plain contrastive step, and against sentence-transformers' trainer.

All arms start from the same MiniLM weights and see the same pairs, cut to 64 tokens, 32 pairs a batch, AdamW, the same
number of threads. ``matryoshka-2d`` is the paper's variant, 2dmse; a step of ``mapped``, the default, is a plain one.
Each runs in a process of its own, in turn (A B C A B C …); the ratios compare neighbours of one round, and
their median is what counts. sentence-transformers runs in float32 and, where the CPU is made for it, also in bfloat16.

    python benchmarks/train.py [--rounds 3] [--steps 30]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

from common import begin, environment, roofline, save

BATCH, TOKENS, RATE = 32, 64, 2e-5
ARMS = ("plain", "matryoshka-2d", "sentence-transformers", "sentence-transformers-bf16")


def pairs(count: int) -> tuple[list[str], list[str]]:
    """Summary and documentation of documented Python functions; texts long enough that 64 tokens are full."""
    from brickwork.data.config import DataConfig
    from brickwork.data.load import load_task

    train = load_task(DataConfig(source="python", limit=20_000), seed=0).train
    columns = train.take(range(len(train)))
    rows = [(a, p) for a, p in zip(columns["anchor"], columns["positive"]) if len(p.split()) > 60]
    texts = [(f"{a} {p}", p) for a, p in rows][:count]
    return [a for a, _ in texts], [p for _, p in texts]


def run_ours(arm: str, steps: int) -> float:
    """Seconds per step after the first five."""
    from brickwork.api.train import recipe
    from brickwork.core.config import override
    from brickwork.data.config import DataConfig
    from brickwork.data.load import load_task
    from brickwork.data.types import Examples
    from brickwork.representation.contract import build_system
    from brickwork.training.loop import fit

    slug = "matryoshka" if arm == "plain" else "matryoshka-2d"
    changes = [
        f"train.steps={steps}",
        f"train.batch_size={BATCH}",
        f"train.learning_rate={RATE}",
        f"model.encoder.max_tokens={TOKENS}",
        "train.save_every=0",
        "train.validate_every=0",
        "train.warmup=0",
    ]
    own = ["model.dims=384"] if arm == "plain" else ["model.variant=2dmse", "model.encoder.train_tokens=none"]
    run = override(recipe(slug, "small"), changes + own)
    data = load_task(DataConfig(source="python", limit=2000), seed=0)
    system = build_system(slug, run.model, data, run.seed)
    anchors, positives = pairs(steps * BATCH)
    rows = Examples({"anchor": anchors, "positive": positives, "group": list(range(len(anchors)))})
    marks: list[float] = []
    after = getattr(system, "after_step", None)

    def mark(step: int) -> None:
        marks.append(time.perf_counter())
        if after is not None:
            after(step)

    system.after_step = mark
    with tempfile.TemporaryDirectory() as folder:
        fit(system, rows, run.train, folder, seed=0)
    return (marks[-1] - marks[4]) / (len(marks) - 5)


def run_sentence_transformers(arm: str, steps: int) -> float:
    """Seconds per step of its own trainer with Matryoshka2dLoss, after the first five."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        losses,
    )
    from transformers import TrainerCallback

    from brickwork.encoders.build import minilm_package_folder

    model = SentenceTransformer(str(minilm_package_folder()), device="cpu")
    model.max_seq_length = TOKENS
    loss = losses.Matryoshka2dLoss(model, losses.MultipleNegativesRankingLoss(model), [384, 192, 96, 48, 24])
    anchors, positives = pairs(steps * BATCH)
    marks: list[float] = []

    class Marks(TrainerCallback):
        def on_step_end(self, *args, **kwargs):
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=RATE,
            use_cpu=True, bf16=arm.endswith("bf16"), report_to=[], save_strategy="no", disable_tqdm=True,
            logging_strategy="no", optim="adamw_torch",
        )  # fmt: skip
        SentenceTransformerTrainer(
            model=model, args=arguments, loss=loss, callbacks=[Marks()],
            train_dataset=Dataset.from_dict({"anchor": anchors, "positive": positives}),
        ).train()  # fmt: skip
    return (marks[-1] - marks[4]) / (len(marks) - 5)


def flops_of_a_step() -> float:
    """Of the whole model, forward and backward (three times the forward), on both texts of each pair."""
    from brickwork.encoders.build import build_text_encoder
    from brickwork.encoders.config import TextEncoderConfig

    encoder = build_text_encoder(TextEncoderConfig())
    return 3.0 * encoder.flops([TOKENS] * 2 * BATCH, encoder.num_layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        import torch

        torch.set_num_threads(options.threads)
        run = run_sentence_transformers if options.arm.startswith("sentence") else run_ours
        print(json.dumps({"seconds_per_step": run(options.arm, options.steps)}))
        return
    begin()
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(options.rounds):
        for arm in ARMS:
            command = [sys.executable, __file__, "--arm", arm, "--steps", str(options.steps)]
            command += ["--threads", str(options.threads)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{arm} failed:\n{done.stderr[-2000:]}")
            seconds[arm].append(json.loads(done.stdout.strip().splitlines()[-1])["seconds_per_step"])
            print(f"{arm}: {BATCH / seconds[arm][-1]:.1f} pairs/s", flush=True)

    def ratio(a: str, b: str) -> dict[str, float]:
        values = [x / y for x, y in zip(seconds[a], seconds[b])]
        return {"median": statistics.median(values), "min": min(values), "max": max(values)}

    import torch

    torch.set_num_threads(options.threads)
    save("train", {
        **environment(),
        **roofline({arm: flops_of_a_step() / statistics.median(values) for arm, values in seconds.items()}),
        "threads": options.threads, "batch": BATCH, "tokens": TOKENS, "rounds": options.rounds, "steps": options.steps,
        "pairs_per_second": {arm: BATCH / statistics.median(values) for arm, values in seconds.items()},
        "step time, matryoshka-2d / plain": ratio("matryoshka-2d", "plain"),
        "speed, ours / sentence-transformers": ratio("sentence-transformers", "matryoshka-2d"),
        "speed, ours / sentence-transformers in bf16": ratio("sentence-transformers-bf16", "matryoshka-2d"),
    })  # fmt: skip


if __name__ == "__main__":
    main()
