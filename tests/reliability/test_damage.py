"""Bits flipped, files cut, zeroed, exchanged, removed and fuzzed: refused by name, or passed over and told (R3, R14)."""

import contextlib
import json
import random
import shutil
import time

import artifacts
import pytest
from faults import cut, files_below, flip, in_child, mutate, mutate_json, swap, zero

from brickwork.core.errors import BrickworkError
from brickwork.core.files import checksum

# What a loader may take, in a process that has already read a good file once.
MEGABYTES = 200
# For people, and a copy that only a repair looks at.
UNREAD = ("README.md", "manifest.copy.json")
DESCRIPTIONS = ("manifest.json", "brickwork.json", "vectors.json")
SECONDS = 5  # of one case, on a machine that does other things too


@pytest.fixture(scope="module", params=artifacts.FOLDERS, ids=lambda a: a.name)
def made(request, tmp_path_factory):
    """An artifact that was changed once, its folder, and the states that reading it may give."""
    artifact = request.param
    folder = tmp_path_factory.mktemp(artifact.name) / "it"
    artifact.make(folder)
    before = artifact.read(folder)
    artifact.change(folder)
    return artifact, folder, {before, artifact.read(folder)}


@pytest.fixture
def prepared(made, tmp_path):
    """The same, in a folder that a test may spoil."""
    artifact, folder, states = made
    shutil.copytree(folder, tmp_path / "it")
    return artifact, tmp_path / "it", states


def outcomes(artifact, folder, states, damages):
    """How each damage was met: refused naming the file, refused, older state, or nothing changed.

    ``damages``: callables that damage the folder; it is put right after each.
    """
    contents = {path: path.read_bytes() for path in files_below(folder)}
    last = artifact.read(folder)
    met = {"named": 0, "refused": 0, "older": 0, "harmless": 0}
    slowest = 0.0
    for damage in damages:
        what, names = damage()
        began = time.perf_counter()
        try:
            results = artifact.read(folder)
        except BrickworkError as error:
            met["named" if any(name in str(error) for name in names) else "refused"] += 1
        else:
            assert results in states, f"{what}: neither refused nor what was saved"
            met["harmless" if results == last else "older"] += 1
        slowest = max(slowest, time.perf_counter() - began)
        for path in set(files_below(folder)) - set(contents):
            path.unlink()
        for path, content in contents.items():
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    assert artifact.read(folder) == last, "put right"
    return {**met, "slowest": slowest}


def damages(folder, kinds, count, seed):
    """``count`` random damages of files below ``folder``."""
    rng = random.Random(seed)
    paths = [path for path in files_below(folder) if path.stat().st_size and path.name not in UNREAD]

    def one(kind, path):
        what = kind(path, rng)
        return what, {path.name}

    for _ in range(count):
        yield lambda: one(rng.choice(kinds), rng.choice(paths))


def check(child, folder, count):
    """The work in the child ended well, in bounded time and memory, and almost all was refused by name."""
    assert child.status == 0, child.error
    met = child.value
    assert met["slowest"] < SECONDS
    refused = met["named"] + met["refused"] + met["older"]
    assert refused + met["harmless"] == count
    return refused, met["harmless"]


def test_flipped_bits(prepared, tally, long):
    """A flip that changes nothing (in white space, or in an older checkpoint that is not read) gives the saved state."""
    artifact, folder, states = prepared
    count = 1000 if long else 60
    child = in_child(
        lambda: outcomes(artifact, folder, states, damages(folder, [flip], count, 1)),
        memory=MEGABYTES,
        seconds=300,
    )
    refused, harmless = check(child, folder, count)
    assert child.value["named"] + child.value["older"] == refused, "the file is named"
    if artifact is not artifacts.CHECKPOINT:  # half of the flips there are in the older checkpoint
        assert harmless <= count / 20
    tally(
        "R3",
        f"bits flipped in {artifact.noun}: refused naming the file, or the one before taken and told",
        refused,
    )
    tally(
        "R3",
        "bits flipped where they mean nothing (white space, an older checkpoint): the saved state came back",
        harmless,
        limit=count,
    )


def test_cut_zeroed_and_exchanged_files(prepared, tally, long):
    artifact, folder, states = prepared
    count = 300 if long else 40
    child = in_child(
        lambda: outcomes(artifact, folder, states, damages(folder, [cut, zero, swap], count, 2)),
        memory=MEGABYTES,
        seconds=300,
    )
    refused, _ = check(child, folder, count)
    assert refused > count / 8
    tally(
        "R3",
        f"files of {artifact.noun} cut, zeroed or exchanged: refused, or the one before taken and told",
        refused,
    )


def test_missing_files(prepared, tally):
    artifact, folder, states = prepared
    paths = [path for path in files_below(folder) if path.name not in UNREAD]

    def without(path):
        path.unlink()
        return f"without {path.name}", {path.name}

    child = in_child(
        lambda: outcomes(artifact, folder, states, [lambda path=path: without(path) for path in paths])
    )
    refused, _ = check(child, folder, len(paths))
    tally("R3", "files removed, each in turn: refused, or the one before taken and told", refused)


def sealed(path, value):
    """Writes a manifest as somebody does who knows how its checksum is made."""
    if isinstance(value, dict) and "checksum" in value:
        with contextlib.suppress(TypeError, ValueError):
            value["checksum"] = checksum(value)
    path.write_text(json.dumps(value))


def test_fuzzed_descriptions_with_a_good_checksum(prepared, tally, long):
    """JSON whose values make no sense, with hashes that fit: only our own errors, little time, little memory.

    What is still readable (a changed note) may load; it must not crash, hang or eat memory.
    """
    artifact, folder, _ = prepared
    count = 1500 if long else 40
    paths = [path for path in files_below(folder) if path.name.endswith(DESCRIPTIONS)]
    contents = {path: path.read_bytes() for path in paths}
    rng = random.Random(3)

    def fuzz():
        slowest, refused, last = 0.0, 0, artifact.read(folder)
        for number in range(count):
            path = rng.choice(paths)
            value = mutate_json(json.loads(contents[path]), rng)
            try:
                sealed(path, value)
            except UnicodeEncodeError:
                continue
            began = time.perf_counter()
            try:
                refused += artifact.read(folder) != last  # an older checkpoint was taken
            except BrickworkError:
                refused += 1
            except BaseException as error:
                raise AssertionError(f"case {number}: {path.name} with {value!r:.2000}") from error
            slowest = max(slowest, time.perf_counter() - began)
            for other, content in contents.items():
                other.write_bytes(content)
        return {"slowest": slowest, "refused": refused}

    child = in_child(fuzz, memory=MEGABYTES, seconds=400)
    assert child.status == 0, child.error
    assert child.value["slowest"] < SECONDS
    assert child.value["refused"] > count / 8
    tally("R14", f"fuzzed descriptions of {artifact.noun}, hashes made to fit: only errors of ours", count)
    tally("R14", "MB that a fuzzed loader took at the most", round(child.grown), limit=MEGABYTES)


def test_fuzzed_files_with_good_hashes(prepared, tally, long):
    """Tensors, tokenizers and Parquet that are broken inside, with hashes that fit: nothing but our own errors."""
    artifact, folder, _ = prepared
    count = 1500 if long else 40
    paths = [
        path for path in files_below(folder) if path.suffix in (".safetensors", ".parquet", ".arrow", ".bin")
    ]
    paths += [path for path in files_below(folder) if path.name == "tokenizer.json"]
    contents = {path: path.read_bytes() for path in files_below(folder)}
    rng = random.Random(4)

    def fuzz():
        slowest, refused, last = 0.0, 0, artifact.read(folder)
        for number in range(count):
            path = rng.choice(paths)
            path.write_bytes(mutate(contents[path], rng))
            artifacts.rehash(folder, path)
            began = time.perf_counter()
            try:
                refused += artifact.read(folder) != last  # an older checkpoint was taken
            except BrickworkError:
                refused += 1
            except BaseException as error:
                raise AssertionError(f"case {number}: {path.name}") from error
            slowest = max(slowest, time.perf_counter() - began)
            for other, content in contents.items():
                other.write_bytes(content)
        return {"slowest": slowest, "refused": refused}

    child = in_child(fuzz, memory=MEGABYTES, seconds=400)
    assert child.status == 0, child.error
    assert child.value["slowest"] < SECONDS
    assert child.value["refused"] > count / 8
    tally("R14", f"fuzzed files of {artifact.noun}, hashes made to fit: only errors of ours", count)
    tally("R14", "MB that a fuzzed loader took at the most", round(child.grown), limit=MEGABYTES)


@pytest.mark.parametrize("state", [-1, [], {}, {"step": None}, {"step": "x"}])
def test_a_checkpoint_whose_state_is_none_with_a_good_hash(tmp_path, state):
    artifacts.CHECKPOINT.make(tmp_path)
    path = tmp_path / "checkpoints" / "step-00000001" / "state.json"
    path.write_text(json.dumps(state))
    artifacts.rehash(tmp_path, path)
    with pytest.raises(BrickworkError, match="state"):
        artifacts.CHECKPOINT.read(tmp_path)
