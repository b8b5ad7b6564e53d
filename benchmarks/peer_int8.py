"""The int8 backends of sentence-transformers, in a Python of their own.

They need optimum and nncf, which want an older transformers than ours, so benchmarks/encode.py --peer-python runs
this file with another interpreter (sentence-transformers, optimum-onnx, optimum-intel, nncf, openvino) and talks to
it by lines: it writes the names of its arms, then answers each ``ARM TEXTS.json VECTORS.npy`` with the seconds that
encoding took.

    /path/to/other/python benchmarks/peer_int8.py MODEL WORKPLACE CALIBRATION.json THREADS
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch


def onnx_model(folder, place):
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    whole = SentenceTransformer(str(folder), device="cpu", backend="onnx", model_kwargs={"export": True})
    whole.save_pretrained(str(place))
    export_dynamic_quantized_onnx_model(whole, "avx512_vnni", str(place))
    name = next(path.name for path in (place / "onnx").glob("*qint8*"))
    chosen = {"file_name": f"onnx/{name}", "provider": "CPUExecutionProvider"}
    return SentenceTransformer(str(place), device="cpu", backend="onnx", model_kwargs=chosen)


def openvino_model(folder, place, calibration):
    from optimum.intel import OVQuantizationConfig
    from sentence_transformers import SentenceTransformer, export_static_quantized_openvino_model

    whole = SentenceTransformer(str(folder), device="cpu", backend="openvino", model_kwargs={"export": True})
    whole.save_pretrained(str(place))
    texts = place / "calibration"
    texts.mkdir()
    rows = json.loads(Path(calibration).read_text())
    (texts / "train.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    export_static_quantized_openvino_model(
        whole,
        OVQuantizationConfig(num_samples=len(rows)),
        str(place),
        dataset_name=str(texts),
        dataset_config_name="default",
        dataset_split="train",
        column_name="text",
    )
    name = next(path.name for path in (place / "openvino").glob("*qint8*.xml"))
    return SentenceTransformer(
        str(place), device="cpu", backend="openvino", model_kwargs={"file_name": f"openvino/{name}"}
    )


def main():
    folder, place, calibration, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    makers = {
        "sentence-transformers onnx int8": lambda own: onnx_model(folder, own),
        "sentence-transformers openvino int8": lambda own: openvino_model(folder, own, calibration),
    }
    answers, sys.stdout = sys.stdout, sys.stderr  # what the libraries print does not belong into the answers
    models = {}
    for name, make in makers.items():
        own = Path(place) / name.replace(" ", "-")
        own.mkdir(parents=True)
        try:
            models[name] = make(own)
            models[name].encode(["a", "text that is longer"])
        except Exception as error:
            print(f"{name} is left out: {error!r:.300}", file=sys.stderr)
    print(json.dumps(list(models)), file=answers, flush=True)
    for line in sys.stdin:
        name, texts, vectors = json.loads(line)
        rows = json.loads(Path(texts).read_text())
        start = time.perf_counter()
        found = models[name].encode(rows, show_progress_bar=False)
        seconds = time.perf_counter() - start
        np.save(vectors, found)
        print(json.dumps(seconds), file=answers, flush=True)


if __name__ == "__main__":
    main()
