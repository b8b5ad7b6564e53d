"""The same work in other surroundings: locale, time zone, folders, no home, no network, another processor (R17)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from brickwork.core.files import read_json, write_json, write_text

HERE = Path(__file__).parent
WORKER = HERE / "surroundings_worker.py"
VARIANTS = {
    "Turkish locale": {"env": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8", "LANGUAGE": "tr"}},
    "a locale without UTF-8": {"env": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}},
    "another time zone": {"env": {"TZ": "Pacific/Chatham"}},
    "spaces and Unicode in paths": {"folder": "ein Ordner · İstanbul 東京 'quoted' \u202e"},
    "no HOME and no user": {
        "without": ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME"),
        "env": {"HOME": "/nonexistent"},
    },
    "no network": {"arguments": ["--no-network"]},
    "an old processor": {"env": {"ATEN_CPU_CAPABILITY": "default", "MKLDNN_ENABLED": "0"}},
    "a clock that jumps": {"arguments": ["--wild-clock"]},
    "random hashes": {"env": {"PYTHONHASHSEED": "random"}},
    "optimised bytecode": {"python": ["-OO"]},
    "a restrictive umask": {"umask": 0o077},
}


def work(folder, *, env=None, without=(), arguments=(), python=(), umask=-1):
    """What the worker prints, in these surroundings."""
    folder.mkdir(parents=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    for name in without:
        if name not in (env or {}):
            environment.pop(name, None)
    command = [sys.executable, *python, str(WORKER), str(folder), *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        env=environment,
        umask=umask,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return work(tmp_path_factory.mktemp("usual") / "it")


def test_the_same_in_all_surroundings(tmp_path, request, tally, long):
    """Each alone, and then most of them at once."""
    if not long:
        pytest.skip("processes of their own, each of which imports torch: in make reliability")
    usual = request.getfixturevalue("usual")
    alone = ("an old processor", "Turkish locale", "a locale without UTF-8")
    rounds = {name: [name] for name in VARIANTS}
    rounds["most of them"] = [name for name in VARIANTS if name not in alone]
    for title, names in rounds.items():
        options = {"env": {}, "arguments": [], "python": [], "without": ()}
        folder = "it"
        for name in names:
            variant = dict(VARIANTS[name])
            folder = variant.pop("folder", folder)
            options["env"].update(variant.pop("env", {}))
            options["arguments"] += variant.pop("arguments", [])
            options["python"] += variant.pop("python", [])
            options.update(variant)
        results = work(tmp_path / title / folder, **options)
        for key in ("documents", "steps", "kinds"):
            assert results[key] == usual[key], f"{title}: {key}"
        exact = "an old processor" not in names
        for key in ("losses", "vectors", "weights"):
            tolerance = 0 if exact else 2e-3
            np.testing.assert_allclose(
                results[key], usual[key], rtol=0, atol=tolerance, err_msg=f"{title}: {key}"
            )
        for one, other in zip(results["hits"], usual["hits"], strict=True):
            # Another processor rounds differently: documents that are nearly equally near may change places.
            assert one == other if exact else len(set(one) & set(other)) >= 4, title
        tally("R17", "surroundings in which train, encode, index and search give the same", len(names))


def test_names_that_are_not_unicode(tmp_path, tally):
    """A folder named by a program that writes Latin-1: it goes into JSON and back, and into reports as U+FFFD."""
    name = "dossier \udce9t\udce9"
    folder = tmp_path / name
    write_json(folder / "config.json", {"source": str(folder)})
    assert read_json(folder / "config.json") == {"source": str(folder)}
    write_text(folder / "report.html", f"<p>{folder}</p>")
    assert "dossier \ufffdt\ufffd" in (folder / "report.html").read_text(encoding="utf-8")
    tally("R17", "folders whose names are not Unicode: written down and found again", 1)
