"""Encoding speed: our encode against sentence-transformers' on the same weights and the same real documents.

The documents are the documentation and the source of Python functions (data/python_corpus.py), of mixed
length, cut to 256 tokens by every arm. The arms take turns (A B C A B C …) in one process with two threads; each
is compared with sentence-transformers' run of the same round, and the median over rounds counts. Beside each arm
stands what it finds: nDCG@10 of summaries searching documentation.

    python benchmarks/encode.py [--rounds 5] [--documents 1152]
    python benchmarks/encode.py --peer-python /path/to/python   # sentence-transformers' int8 backends as well
    python benchmarks/encode.py --texts short [or one]   # sentences of some 12 tokens, all of them or one at a time
    python benchmarks/encode.py --sweep       # how the token budget changes the speed
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # as sentence-transformers runs by default

import numpy as np
import torch

import brickwork
from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import BrickworkWarning, MissingExtraError
from brickwork.core.hardware import bf16_reason
from brickwork.encoders.build import TextEncoderConfig, build_text_encoder, minilm_package_folder
from brickwork.representation.export_onnx import export_onnx
from brickwork.representation.model import Representation
from common import begin, environment, save

BATCH = 32  # sentence-transformers' default
Arm = Callable[[list[str]], np.ndarray]


def corpus(limit: int) -> tuple[list[str], Any]:
    """Documents to encode, and the retrieval set that they begin with."""
    from brickwork.data.config import DataConfig
    from brickwork.data.load import load_task

    sets = load_task(DataConfig(source="python", limit=8000), seed=0).retrieval
    documents = [text for retrieval in sets.values() for text in retrieval.documents]
    return documents[:limit], next(iter(sets.values()))


def onnxruntime_arm(file: Path, encoder: Any) -> Arm:
    """What sentence-transformers' ONNX backend does: sorted by length, 32 texts a batch, padded."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Or its idle threads would spin on through the next arm's turn.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

    return _padded(run, encoder)


def openvino_arm(file: Path, encoder: Any, precision: str | None = None) -> Arm:
    """The same with OpenVINO, which by itself chooses bf16 on processors with AMX."""
    import openvino

    core = openvino.Core()
    threads = torch.get_num_threads()
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = precision
    compiled = core.compile_model(core.read_model(file), "CPU", settings)
    return _padded(lambda ids, mask: compiled({"input_ids": ids, "attention_mask": mask})[0], encoder)


def _padded(run: Callable[[np.ndarray, np.ndarray], np.ndarray], encoder: Any) -> Arm:
    def encode(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        found: list[np.ndarray] = []
        for start in range(0, len(order), BATCH):
            tokens = encoder.tokenize([texts[row] for row in order[start : start + BATCH]])
            ids, mask = tokens.padded(encoder.pad_id)
            found.append(np.array(run(ids.numpy(), mask.numpy())))
        vectors = np.empty((len(texts), found[0].shape[1]), dtype=np.float32)
        vectors[order] = np.concatenate(found)
        return vectors

    return encode


class OtherPython:
    """The arms of benchmarks/peer_int8.py, which run in another interpreter."""

    def __init__(self, python: str, folder: Path, place: Path, calibration: list[str]):
        (place / "calibration.json").write_text(json.dumps(calibration))
        script = Path(__file__).parent / "peer_int8.py"
        own = place / "peer"
        threads = str(torch.get_num_threads())
        command = [python, str(script), str(folder), str(own), str(place / "calibration.json"), threads]
        surroundings = {**os.environ, "OMP_NUM_THREADS": threads}
        surroundings.pop("PYTHONPATH", None)
        self.place = place
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=surroundings
        )
        self.names: list[str] = self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the other Python stopped; its message is above")
        return json.loads(line)

    def arm(self, name: str) -> Arm:
        def encode(texts: list[str]) -> np.ndarray:
            assert self.process.stdin is not None
            asked, vectors = self.place / "texts.json", self.place / "vectors.npy"
            asked.write_text(json.dumps(texts))
            self.process.stdin.write(json.dumps([name, str(asked), str(vectors)]) + "\n")
            self.process.stdin.flush()
            self._answer()
            return np.load(vectors)

        return encode


def arms(
    model: Representation, folder: Path, place: Path, peer_python: str | None, calibration: list[str]
) -> dict[str, Arm]:
    """What is compared, by name; what cannot run here is left out with a note."""
    from sentence_transformers import SentenceTransformer

    peer = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    low = SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.bfloat16}
    )
    found: dict[str, Arm] = {
        "sentence-transformers": lambda texts: peer.encode(texts, show_progress_bar=False),
        "sentence-transformers bf16": lambda texts: np.asarray(
            low.encode(texts, show_progress_bar=False, convert_to_tensor=True).float()
        ),
        "brickwork": lambda texts: model.encode(texts),
        "brickwork fp32": lambda texts: model.encode(texts, precision="fp32"),
        "brickwork 3 layers 96 dims": lambda texts: model.encode(texts, dim=96, layers=3),
    }
    if eight := in_eight_bits(model, place / "own", calibration):
        found["brickwork int8"] = lambda texts: eight.encode(texts)
        found["brickwork int8, 3 layers 96 dims"] = lambda texts: eight.encode(texts, dim=96, layers=3)
    whole = export_onnx(model, place / "fp32.onnx")
    small = export_onnx(model, place / "int8.onnx", int8=True)
    for name, make in {
        "onnxruntime int8": lambda: onnxruntime_arm(small, model.encoder),
        "openvino (own choice of precision)": lambda: openvino_arm(whole, model.encoder),
        "openvino int8": lambda: openvino_arm(small, model.encoder),
    }.items():
        try:
            arm = make()
            arm(["a", "text that is longer"])
            found[name] = arm
        except Exception as error:
            print(f"{name} is left out: {str(error).splitlines()[0]:.200}", file=sys.stderr)
    if peer_python:
        other = OtherPython(peer_python, folder, place, calibration)
        found |= {name: other.arm(name) for name in other.names}
    return found


def in_eight_bits(model: Representation, folder: Path, calibration: list[str]) -> Any:
    """The same model by the engine int8, or nothing where it is not installed."""
    try:
        return brickwork.load(model.save(folder), engine="int8", calibration=calibration)
    except MissingExtraError as error:
        print(f"brickwork int8 is left out: {error}", file=sys.stderr)
        return None


def quality(arm: Arm, retrieval: Any) -> float:
    """nDCG@10, a mean over queries."""
    from brickwork.evaluation.retrieval import score
    from brickwork.representation.nearest import top_k

    _, ranked = top_k(arm(retrieval.queries), arm(retrieval.documents), 10)
    return float(np.mean(score(ranked, retrieval.relevant, ("ndcg@10",))["ndcg@10"]))


def gemm_rate() -> float:
    """The best bf16 (or fp32) matrix rate with MiniLM's shapes here, in FLOP/s."""
    from brickwork.core.hardware import bf16_is_fast
    from brickwork.representation.packed import PackedLinear, can_pack

    kind = torch.bfloat16 if bf16_is_fast() else torch.float32
    best = 0.0
    with torch.inference_mode():
        for inside, outside in ((384, 1152), (384, 1536), (1536, 384)):
            linear = torch.nn.Linear(inside, outside).to(kind)
            calls = [linear] + ([PackedLinear(linear)] if kind == torch.bfloat16 and can_pack() else [])
            x = torch.randn(4096, inside, dtype=kind)
            for call in calls:
                for _ in range(20):
                    start = time.perf_counter()
                    call(x)
                    best = max(best, 2 * 4096 * inside * outside / (time.perf_counter() - start))
    return best


def seconds(arm: Arm, texts: list[str]) -> tuple[float, float]:
    """Seconds by the clock and of the processors; the second hardly feel what else the machine does."""
    repeats = 20 if len(texts) == 1 else 1
    start, used = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        arm(texts)
    return (time.perf_counter() - start) / repeats, (time.process_time() - used) / repeats


def compare(
    model: Representation, texts: list[str], retrieval: Any, rounds: int, peer_python: str | None
) -> dict[str, Any]:
    """Every arm's time in every round, ratios, agreement and quality."""
    with tempfile.TemporaryDirectory() as place:
        calibration = retrieval.documents[-300:]  # any texts of the kind; no label is looked at
        by_name = arms(model, Path(minilm_package_folder() or ""), Path(place), peer_python, calibration)
        reference = by_name["sentence-transformers"](texts)
        cosines: dict[str, tuple[float, float]] = {}
        for name, arm in by_name.items():
            vectors = arm(texts)  # also warms up
            prefix = reference[:, : vectors.shape[1]]
            lengths = np.linalg.norm(prefix, axis=1) * np.linalg.norm(vectors, axis=1)
            cosine = (prefix * vectors).sum(1) / lengths
            cosines[name] = (float(cosine.min()), float(cosine.mean()))
        times: dict[str, list[float]] = {name: [] for name in by_name}
        used: dict[str, list[float]] = {name: [] for name in by_name}
        rates = []
        for number in range(rounds):
            rates.append(gemm_rate())
            for name, arm in by_name.items():
                clock, processors = seconds(arm, texts)
                times[name].append(clock)
                used[name].append(processors)
                print(f"round {number + 1}: {name} {clock:.2f} s, {processors:.2f} s CPU", file=sys.stderr)
        found = {}
        for name, arm in by_name.items():
            ratios = [base / own for base, own in zip(times["sentence-transformers"], times[name])]
            by_processors = [base / own for base, own in zip(used["sentence-transformers"], used[name])]
            found[name] = {
                "documents_per_second": round(len(texts) / statistics.median(times[name]), 1),
                "ratio": round(statistics.median(ratios), 2),
                "ratios": [round(ratio, 2) for ratio in ratios],
                # The other interpreter's processor time is not ours to read.
                "ratio_of_cpu_time": None
                if name.endswith("int8") and "sentence" in name
                else round(statistics.median(by_processors), 2),
                "min_cosine": round(cosines[name][0], 5) if "layers" not in name else None,
                "mean_cosine": round(cosines[name][1], 5) if "layers" not in name else None,
                "ndcg@10": round(quality(arm, retrieval), 4),
            }
    flops = model.encoder.flops(model.encoder.tokenize(texts).lengths.tolist(), 6)
    threads = torch.get_num_threads()
    shares = [flops / (own / threads) / rate for own, rate in zip(used["brickwork"], rates)]
    return {
        "arms": found,
        "gemm_gflops": round(statistics.median(rates) / 1e9),
        "share_of_gemm_rate": round(statistics.median(shares), 3),
    }


def sweep(model: Representation, texts: list[str], rounds: int) -> dict[str, Any]:
    """Documents per second by token budget."""
    budgets = (1024, 2048, 4096, 8192, 16384, 32768)
    model.encode(texts)
    times: dict[int, list[float]] = {budget: [] for budget in budgets}
    for _ in range(rounds):
        for budget in budgets:
            times[budget].append(seconds(lambda x, b=budget: model.encode(x, token_budget=b), texts)[0])
    return {str(budget): round(len(texts) / min(own), 1) for budget, own in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--documents", type=int, default=1152)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-python", help="A Python with optimum and nncf.")
    parser.add_argument(
        "--texts", choices=("documents", "short", "one"), default="documents", help="`short`: of 12 tokens."
    )
    parser.add_argument("--sweep", action="store_true")
    options = parser.parse_args()
    begin()
    warnings.simplefilter("ignore", BrickworkWarning)
    torch.set_num_threads(options.threads)
    texts, retrieval = corpus(options.documents)
    if options.texts != "documents":
        texts = [" ".join(text.split()[:9]) for text in texts][: 1 if options.texts == "one" else None]
    axes = ElasticAxes(dims=(96, 384), layers=(3, 6))
    model = Representation(build_text_encoder(TextEncoderConfig()).eval(), axes)
    lengths = model.encoder.tokenize(texts).lengths.float()
    about = {
        "documents": len(texts),
        "tokens": {
            "mean": round(float(lengths.mean()), 1),
            "quartiles": [int(q) for q in lengths.quantile(torch.tensor([0.25, 0.5, 0.75]))],
            "max": int(lengths.max()),
        },
        "threads": options.threads,
        "precision": bf16_reason(),
    }
    if options.sweep:
        speeds = sweep(model, texts, options.rounds)
        save("encode_sweep", {**environment(), **about, "documents_per_second": speeds})
    else:
        save(
            "encode" if options.texts == "documents" else f"encode-{options.texts}",
            {
                **environment(),
                **about,
                **compare(model, texts, retrieval, options.rounds, options.peer_python),
            },
        )


if __name__ == "__main__":
    main()
