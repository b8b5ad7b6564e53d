"""Files made to harm: refused before anything is allocated or run, by every loader (R4).

Each loader runs in a fork that may take 200 MB, on files that stand in the place of good ones with hashes that fit:
an attacker knows how hashes are made. What a canary would create is looked for afterwards.
"""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile

import artifacts
import pytest
import torch
from faults import in_child

from brickwork.core.errors import BrickworkError
from brickwork.core.files import checksum, load_tensors

MEGABYTES = 200


class Canary:
    """What a pickle would do if somebody loaded it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def header(entries, data=b"", length=None):
    """A safetensors file with this header, and perhaps a length that lies."""
    raw = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def zipped(name, content):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, content)
    return out.getvalue()


def torch_saved(value):
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def tensor(shape, begin, end, kind="F32"):
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def hostile(canary):
    """Contents by what is wrong with them."""
    evil = pickle.dumps(Canary(canary))
    good = {"a": tensor([1], 0, 4)}
    return {
        "pickle": evil,
        "pickle of protocol 0": pickle.dumps(Canary(canary), protocol=0),
        "zip with a pickle": zipped("archive/data.pkl", evil),
        "torch.save with os.system": torch_saved({"a": Canary(canary)}),
        "safetensors and zip at once": header(good, b"abcd") + zipped("data.pkl", evil),
        "safetensors with code behind it": header(good, b"abcd#!/bin/sh\ntouch " + str(canary).encode()),
        "a tensor of 2^62 numbers": header({"a": tensor([2**62], 0, 4)}, b"abcd"),
        "sizes whose product overflows": header({"a": tensor([2**33, 2**33], 0, 0)}),
        "a negative size": header({"a": tensor([-1], 0, 4)}, b"abcd"),
        "negative offsets": header({"a": tensor([1], -4, 0)}, b"abcd"),
        "overlapping offsets": header({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, b"abcd"),
        "a hole between tensors": header({"a": tensor([1], 4, 8)}, b"abcdefgh"),
        "offsets beyond the end": header({"a": tensor([2**40], 0, 2**42)}, b"abcd"),
        "a header of 200 MB that is not there": header(b"{}", length=200 * 2**20),
        "a header of 2^62 bytes": header(b"{}", length=2**62),
        "a type of object": header({"a": tensor([1], 0, 4, "OBJ")}, b"abcd"),
        "a list for a header": header([1]),
        "a header nested 100,000 deep": header(b"{" + b'"a":{' * 100_000),
        "a name that climbs": header({"../../evil": tensor([1], 0, 4)}, b"abcd"),
        "nothing": b"",
        "seven bytes": b"1234567",
    }


def refused(read, cases, folder, put):
    """Puts each case into the folder and reads it; the messages by case."""
    told = {}
    for name, content in cases.items():
        put(content)
        try:
            read(folder)
        except BrickworkError as error:
            told[name] = str(error)
    return told


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary-was-here"


def check(child, cases, canary):
    assert child.status == 0, child.error
    assert set(cases) - set(child.value) == set(), "was read"
    assert not canary.exists(), "something in the file was run"
    assert child.grown < MEGABYTES


def places(artifact, folder):
    """The files of an artifact that hold tensors or other data, not JSON of ours."""
    return [p for p in folder.rglob("*") if p.suffix in (".safetensors", ".parquet", ".arrow", ".bin")]


@pytest.mark.parametrize("artifact", artifacts.FOLDERS, ids=lambda a: a.name)
def test_hostile_files_in_every_place(artifact, tmp_path, canary, tally):
    folder = tmp_path / "it"
    artifact.make(folder)
    cases, tried = hostile(canary), 0
    for path in places(artifact, folder):
        good = path.read_bytes()

        def put(content, path=path):
            path.write_bytes(content)
            artifacts.rehash(folder, path)

        child = in_child(lambda put=put: refused(artifact.read, cases, folder, put), memory=MEGABYTES)
        check(child, cases, canary)
        unnamed = {n: m for n, m in child.value.items() if path.name not in m and ".json" not in m}
        assert unnamed == {}, "the file, or what should describe it, is named"
        tried += len(cases)
        put(good)
        artifact.read(folder)
        tally("R4", "MB that reading a hostile file took at the most", round(child.grown), limit=MEGABYTES)
    tally("R4", f"hostile files in {artifact.noun}, hashes made to fit: refused, nothing run", tried)


def test_a_real_header_of_200_megabytes(tmp_path, tally):
    """The bytes are there, so only the limit on headers keeps them from being read."""
    path = tmp_path / "large.safetensors"
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", 200 * 2**20) + b"{")
        file.truncate(8 + 200 * 2**20)

    def read():
        with pytest.raises(BrickworkError, match="header too large"):
            load_tensors(path)

    child = in_child(read, memory=MEGABYTES + 200)  # the file is mapped, which takes addresses and no memory
    assert child.status == 0, child.error
    assert child.grown < 20
    tally("R4", "MB that refusing a header of 200 MB took", round(child.grown), limit=20)


@pytest.mark.parametrize("artifact", artifacts.FOLDERS, ids=lambda a: a.name)
def test_links_and_special_files(artifact, tmp_path, tally, long):
    """A link to a secret, to a device without end, to nowhere, to itself; a pipe; a folder: no hang, refused. Each in the
    place of every file, or, where time is short, two of them in turn."""
    folder, secret = tmp_path / "it", tmp_path / "secret"
    artifact.make(folder)
    secret.write_text("the password")
    kinds = {
        "secret": lambda p: p.symlink_to(secret),
        "endless": lambda p: p.symlink_to("/dev/zero"),
        "nowhere": lambda p: p.symlink_to(tmp_path / "nowhere"),
        "itself": lambda p: p.symlink_to(p),
        "pipe": os.mkfifo,
        "folder": lambda p: p.mkdir(),
    }
    # Not the copy that only a repair reads.
    files = [*places(artifact, folder), *folder.rglob("*[!y].json")]
    each = len(kinds) if long else max(2, -(-len(kinds) // len(files)))
    tried = [
        (path, list(kinds)[(each * place + number) % len(kinds)])
        for place, path in enumerate(files)
        for number in range(each)
    ]
    assert {name for _, name in tried} == set(kinds)
    for path, name in tried:
        good = path.read_bytes()
        path.unlink()
        kinds[name](path)

        def read():
            with pytest.raises(BrickworkError) as error:
                artifact.read(folder)
            return str(error.value)

        child = in_child(read, memory=MEGABYTES, seconds=30)
        assert child.status == 0, f"{path.name}: {name}: {child.error}"
        assert "the password" not in child.value
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        path.write_bytes(good)
    tally("R4", "links, pipes and folders in the place of files: refused without hanging", len(tried))


NAMES = (
    "../evil",
    "/etc/passwd",
    "a/../../b",
    "..",
    "",
    "model/../../../etc/passwd",
    "\0",
    "C:\\x",
    "~/.ssh/id",
)


def test_names_that_lead_out_of_a_model(tmp_path, tally):
    artifacts.MODEL.make(tmp_path / "it")
    path = tmp_path / "it" / "brickwork.json"
    manifest = json.loads(path.read_text())
    for name in NAMES:
        for change in (
            {"sha256": {**manifest["sha256"], name: "0" * 64}},
            {"sha256": {name: "0" * 64}},
            {"kind": name},
        ):
            values = {**manifest, **change}
            path.write_text(json.dumps({**values, "checksum": checksum(values)}))
            with pytest.raises(BrickworkError, match=r"brickwork\.json"):
                artifacts.MODEL.read(tmp_path / "it")
    tally("R4", "names in manifests that lead elsewhere: refused", 3 * len(NAMES))


def test_names_that_lead_out_of_a_sentence_transformer(tmp_path, canary, tally):
    """Folders of other libraries are read too: no code from them, no file outside of them."""
    from brickwork.representation.load import load_representation

    for name in [name for name in NAMES if ".." in name or name.startswith("/")]:
        folder = tmp_path / "st"
        folder.mkdir()
        (folder / "modules.json").write_text(
            json.dumps(
                [
                    {
                        "idx": 0,
                        "name": "0",
                        "path": name,
                        "type": "sentence_transformers.models.StaticEmbedding",
                    }
                ]
            )
        )
        with pytest.raises(BrickworkError, match=r"not safe|outside"):
            load_representation(folder)
        shutil.rmtree(folder)
    folder.mkdir()
    code = f"import os; os.system('touch {canary}')"
    (folder / "modeling_evil.py").write_text(code)
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "modeling_evil.Evil"}])
    )
    (folder / "config.json").write_text(
        json.dumps({"auto_map": {"AutoModel": "modeling_evil.Evil"}, "model_type": "evil"})
    )
    with pytest.raises(BrickworkError):
        load_representation(folder)
    assert not canary.exists()
    tally("R4", "SentenceTransformer folders that lead out, or bring code: refused, nothing run", 5)
