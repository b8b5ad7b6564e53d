"""One thread, no network, no global state: what every test may count on."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import hypothesis
import pytest

import shape_checks

# How long an example takes says something of the machine, and nothing of the code.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

shape_checks.checks("brickwork")
pytest_plugins = ["scheduling", "budget"]
if "BRICKWORK_MORE_SYSTEMS" in os.environ:
    pytest_plugins.append("more_systems")

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# What is written here is flushed to the disk each time, by us and by the engines under test: on a busy disk the tests of the
# stores took 443 s, about 50 s of them computing, and 66 s with their files in memory. So files are there if there is room;
# on the disk with BRICKWORK_LONG=1, with --basetemp or with PYTEST_DEBUG_TEMPROOT=/tmp.
MEMORY = Path("/dev/shm")
if (
    os.environ.get("BRICKWORK_LONG") != "1"
    and os.access(MEMORY, os.W_OK)
    and shutil.disk_usage(MEMORY).free > 4 << 30
):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _each_tokenizer_is_trained_once():
    """The same texts give the same tokenizer (tests/unit/encoders/test_tokenization.py, which trains its own): a second
    training in a worker would only cost time. Each caller has a tokenizer of its own, as it may set cuts and padding."""
    from brickwork.encoders import build
    from brickwork.encoders.tokenization import read_tokenizer, train_tokenizer

    trained: dict[str, str] = {}

    def once(texts, vocab_size):
        texts = list(texts)
        key = hashlib.sha256(repr((vocab_size, texts)).encode(errors="surrogatepass")).hexdigest()
        if key not in trained:
            trained[key] = train_tokenizer(texts, vocab_size).to_str()
        return read_tokenizer(trained[key], "a tokenizer trained before")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "train_tokenizer", once)
        yield


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Connections that leave the machine fail at once; loopback (gloo) works."""
    connect = socket.socket.connect

    def guarded(self, address):
        inet = self.family in (socket.AF_INET, socket.AF_INET6)
        if inet and not str(address[0]).startswith(("127.", "::1", "localhost", socket.gethostname())):
            raise OSError(f"a test tried to reach {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def plain_process(tmp_path_factory) -> Iterator[Callable[..., dict[str, Any]]]:
    """Runs jobs of ``plain_worker.py`` in another process, without shape checks: ``plain_process("encode", folder, …)``.

    Started once for all systems, so no system pays for it (tests/budget.py).
    """
    complaints = tmp_path_factory.mktemp("plain") / "stderr"
    command = [sys.executable, Path(__file__).with_name("plain_worker.py")]
    with complaints.open("w") as errors:
        child = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=errors, text=True)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", complaints.read_text()

        def run(job: str, *arguments: object) -> dict[str, Any]:
            child.stdin.write(json.dumps([job, *map(str, arguments)]) + "\n")
            child.stdin.flush()
            line = child.stdout.readline()
            assert line, complaints.read_text()
            answer = json.loads(line)
            assert "error" not in answer, f"{answer['error']}\n{complaints.read_text()}"
            return answer

        yield run
        child.communicate()


@pytest.fixture
def data_folder() -> Path:
    """The folder with local copies of real sets; the test skips where there is none."""
    folder = os.environ.get("BRICKWORK_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("BRICKWORK_DATA does not point at local copies of the data sets")
    return Path(folder)
