"""Encodes with Ray and kills its workers meanwhile; run by test_ray_encode.py in a process of its own.

``ray_worker.py MODEL DATA OUT KILLS SHARD_SIZE long|short``: prints what happened as JSON, and nothing else.
"""

import json
import sys
import threading
import time
import warnings
from pathlib import Path

import psutil

from brickwork.core.errors import BrickworkError
from brickwork.representation.encode_ray import _cluster, _import_ray, encode_with_ray


def workers():
    """The processes that hold a model."""
    results = []
    for process in psutil.Process().children(recursive=True):
        try:
            results += [process] if "::MapWorker" in " ".join(process.cmdline()) else []
        except psutil.NoSuchProcess:
            continue
    return results


def kill_workers(out, count, killed):
    """SIGKILL to a worker after every few new shards; remembers how many shards there were."""
    seen = 2
    while len(killed) < count:
        shards = len(list(out.glob("vectors-*.parquet")))
        alive = workers()
        if shards >= seen and alive:
            alive[0].kill()
            killed.append(shards)
            seen = shards + 3
        time.sleep(0.005)


def refused(*arguments, **options):
    try:
        encode_with_ray(*arguments, **options)
    except BrickworkError as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


def main(model, data, out, kills, shard_size, long):
    killed, report = [], {}
    thread = threading.Thread(target=kill_workers, args=(out, kills, killed), daemon=True)
    options = {"workers": 2, "shard_size": shard_size, "precision": "fp32"}
    with warnings.catch_warnings(record=True) as told, _cluster(_import_ray(), "local", 2, 0):
        warnings.simplefilter("always")
        thread.start()
        report["first"] = encode_with_ray(model, data, out, **options)
        report["told"] = sorted({str(warning.message) for warning in told})
        if long:
            report["again"] = encode_with_ray(model, data, out, **options)
            with open(data / "a.jsonl", "a") as file:
                file.write('{"text": "one more"}\n')
            report["grown"] = refused(model, data, out, **options)
        text = (data / "a.jsonl").read_text()
        (data / "a.jsonl").write_text(text.replace("rivers", "RIVERS", 1))
        report["changed"] = refused(model, data, out, **options)
    report["killed"] = killed
    print(json.dumps(report))


if __name__ == "__main__":
    model, data, out, kills, shard_size, long = sys.argv[1:]
    main(Path(model), Path(data), Path(out), int(kills), int(shard_size), long == "long")
