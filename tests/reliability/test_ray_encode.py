"""Encoding with Ray on local workers, of which some are killed: every row is there once, with its vector (R10).

Expected vectors are those of ``Representation.encode`` in this one process; expected rows are those written here.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from brickwork.core.elastic import ElasticAxes
from brickwork.core.seeding import seed_everything
from brickwork.encoders.build import build_text_encoder
from brickwork.encoders.config import TextEncoderConfig
from brickwork.representation.export_parquet import read_vectors
from brickwork.representation.model import Representation

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
WORKER = Path(__file__).with_name("ray_worker.py")
SHARD = 50


@pytest.fixture
def work(tmp_path, long):
    """A small model, and two files: rows of JSONL of which every 40th is not JSON, and rows of Parquet."""
    seed_everything(0)
    words = ["rivers", "birds", "stone", "bridges", "old", "seven", "small", "sang", "about", "while"]
    rng = np.random.default_rng(0)
    count = 2000 if long else 600
    texts = [f"{i} " + " ".join(rng.choice(words, rng.integers(1, 20))) for i in range(2 * count)]
    config = TextEncoderConfig(backbone="scratch", width=32, num_layers=2, vocab_size=300, max_tokens=64)
    encoder = build_text_encoder(config, texts=texts[:200])
    model = Representation(encoder.eval(), ElasticAxes(dims=(16, 32), layers=(1, 2)))
    model.save(tmp_path / "model")
    data = tmp_path / "data"
    data.mkdir()
    rows = ["not JSON" if i % 40 == 39 else json.dumps({"text": texts[i]}) for i in range(count)]
    (data / "a.jsonl").write_text("\n".join(rows) + "\n")
    ids = [f"p{i}" for i in range(count)]
    pq.write_table(pa.table({"id": ids, "text": texts[count:]}), data / "b.parquet", row_group_size=SHARD * 3)
    expected = {f"a.jsonl#{i}": texts[i] for i in range(count) if i % 40 != 39}
    expected |= dict(zip(ids, texts[count:], strict=True))
    return tmp_path, model, expected


def start(folder, kills, long):
    command = [sys.executable, str(WORKER), *(str(folder / name) for name in ("model", "data", "out"))]
    return subprocess.Popen(
        [*command, str(kills), str(SHARD), "long" if long else "short"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def leftovers():
    """What a Ray of ours leaves behind: folders, and processes that work in one."""
    folders = [path.name for path in Path(tempfile.gettempdir()).glob("brickwork-ray-*")]
    folders += [path.name for path in Path("/tmp").glob("brickwork-ray-*")]
    for process in psutil.process_iter(["cmdline"]):
        folders += [word for word in process.info["cmdline"] or () if "brickwork-ray-" in word]
    return set(folders)


def check(folder, model, expected):
    """Each row once, in the order of the input, and the vectors of one process."""
    ids, vectors = zip(*read_vectors(folder / "out"), strict=True)
    names = [name for part in ids for name in part]
    assert Counter(names) == Counter(expected.keys()), "each row once"
    assert names == list(expected)
    alone = model.encode(list(expected.values()), precision="fp32")
    np.testing.assert_allclose(np.concatenate(vectors), alone, rtol=0, atol=1e-6)
    assert not list((folder / "out").glob(".*")), "neither a lock nor half a file"


def test_workers_that_are_killed_lose_nothing(work, tally, long):
    folder, model, expected = work
    kills, before = (6 if long else 1), leftovers()
    process = start(folder, kills, long)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    assert all("(raylet)" in line or not line.strip() for line in err.splitlines()), "it says who died only"
    report = json.loads(out)
    bad = sum("not JSON" in line for line in (folder / "data" / "a.jsonl").read_text().splitlines())
    shards = report["first"]["shards"]
    assert len(report["killed"]) == kills
    assert max(report["killed"]) < shards, "midway"
    assert report["first"] == {
        "documents": len(expected), "shards": shards, "reused": 0, "skipped": bad, "dim": 32, "layers": 2
    }  # fmt: skip
    assert report["told"] == [f"{bad} skipped: not a line of JSON (first: a.jsonl row 40)"]
    check(folder, model, expected)
    if long:
        assert report["again"] == {**report["first"], "reused": len(expected)}
        assert "was finished and the input now has more" in report["grown"]
    assert report["changed"].startswith("DataError: the input is not the one that")
    assert leftovers() <= before
    tally("R10", "workers killed while Ray encoded, with every row there once", kills)


def test_a_job_that_is_killed_goes_on_with_the_shards_that_are_there(work, tally, long):
    """SIGKILL to the whole job, twice; the last call starts from what it finds."""
    if not long:
        pytest.skip("three starts of Ray: make reliability")
    before = leftovers()
    folder, model, expected = work
    out, seen = folder / "out", 0
    for _ in range(2):
        process = start(folder, 0, long=False)
        while len(list(out.glob("vectors-*.parquet"))) < seen + 5:
            assert process.poll() is None, process.communicate()[1][-3000:]
            time.sleep(0.005)
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            os.kill(member.pid, signal.SIGKILL)
        process.communicate()
        results = {path.name: path.stat().st_mtime_ns for path in out.glob("vectors-*.parquet")}
        seen = len(results)
    process = start(folder, 0, long=False)
    text, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    report = json.loads(text)
    assert 0 < report["first"]["reused"] < len(expected)
    assert all((out / name).stat().st_mtime_ns == written for name, written in results.items())
    check(folder, model, expected)
    for name in leftovers() - before:  # who is killed cannot clean up
        shutil.rmtree(Path("/tmp") / name, ignore_errors=True)
    tally("R10", "jobs of Ray killed and taken up again", 2)
