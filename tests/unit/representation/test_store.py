"""A saved model is the same model; a damaged one is refused with the reason."""

import contextlib
import json
import os
import pickle
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from safetensors.torch import load_file, save_file

from brickwork.core.elastic import ElasticAxes
from brickwork.core.errors import ArtifactError, BrickworkError, ConfigError, ResourceError
from brickwork.core.files import checksum, sha256_file
from brickwork.representation.load import load_representation
from brickwork.representation.model import Representation


def edit(folder: Path, change) -> None:
    """Applies ``change`` to brickwork.json, as somebody does who knows how its checksum is made."""
    path = folder / "brickwork.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["checksum"] = checksum(manifest)
    path.write_text(json.dumps(manifest))


def rehash(folder: Path) -> None:
    """What an attacker does: writes fitting hashes for changed files."""

    def change(manifest):
        manifest["sha256"] = {name: sha256_file(folder / name) for name in manifest["sha256"]}

    edit(folder, change)


@pytest.fixture
def folder(model, tmp_path) -> Path:
    return model.save(tmp_path / "model")


def test_a_new_process_gives_the_same_bits(model, folder, texts, tmp_path):
    program = (
        "import sys, json, numpy, torch, brickwork; torch.set_num_threads(1);"
        "m = brickwork.load(sys.argv[1]);"
        "numpy.save(sys.argv[2], m.encode(json.loads(sys.argv[3]), dim=16, layers=2, precision='fp32'));"
        "print(m.fingerprint)"
    )
    arguments = [str(folder), str(tmp_path / "v.npy"), json.dumps(texts)]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    assert_array_equal(np.load(tmp_path / "v.npy"), model.encode(texts, dim=16, layers=2, precision="fp32"))
    assert done.stdout.strip() == model.fingerprint


@pytest.mark.parametrize("name", ["model", "static_model", "image_model"])
def test_everything_comes_back(name, request, texts, images, tmp_path):
    model = request.getfixturevalue(name)
    model.lineage["replaces"] = "0123"
    again = load_representation(model.save(tmp_path / "model"))
    inputs = images if name == "image_model" else texts
    assert_array_equal(again.encode(inputs, precision="fp32"), model.encode(inputs, precision="fp32"))
    assert (again.axes, again.lineage, again.card) == (model.axes, model.lineage, model.card)
    assert again.fingerprint == model.fingerprint
    assert not again.encoder.training
    assert all(p.requires_grad for p in again.encoder.parameters())


def test_the_fingerprint_changes_with_weights_architecture_and_tokenizer(model):
    first = model.fingerprint
    with torch.no_grad():
        model.encoder.body.blocks[2].mlp.down.bias[3] += 1e-3
    second = model.fingerprint
    model.encoder.max_tokens = 17
    third = model.fingerprint
    model.encoder.tokenizer.add_tokens(["newword"])
    assert len({first, second, third, model.fingerprint}) == 4


def test_axes_beyond_the_encoder_are_refused(model):
    with pytest.raises(ConfigError, match="beyond"):
        Representation(model.encoder, ElasticAxes(dims=(64,), layers=(1,)))


def test_saving_into_a_run_folder_keeps_its_files(model, tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "step").write_text("kept")
    (run / "metrics.jsonl").write_text("kept")
    model.save(run)
    model.save(run)
    assert (run / "checkpoints" / "step").read_text() == (run / "metrics.jsonl").read_text() == "kept"
    assert load_representation(run).fingerprint == model.fingerprint
    assert not list(run.glob(".partial-*"))


def test_an_unfinished_run_says_how_to_go_on(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(ArtifactError, match=r"brickwork resume .*run"):
        load_representation(tmp_path / "run")


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="holds no model"):
        load_representation(tmp_path / "empty")
    with pytest.raises(ArtifactError, match="is not a model folder"):
        load_representation(tmp_path / "absent")
    with pytest.raises(ConfigError, match="revision"):
        load_representation(tmp_path / "empty", revision="main")


@pytest.mark.parametrize("version", [0, 2, None, "1"])
def test_another_format_version(folder, version):
    edit(folder, lambda manifest: manifest.update(format_version=version))
    with pytest.raises(ArtifactError, match="format version"):
        load_representation(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "brickwork.json"])
@pytest.mark.parametrize("damage", ["remove", "truncate", "zero", "flip"])
def test_damaged_files_are_refused_by_name(folder, name, damage):
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "zero":
        path.write_bytes(bytes(len(content)))
    else:
        content[len(content) // 2] ^= 1 if name != "brickwork.json" else 128
        path.write_bytes(content)
    with pytest.raises(
        ArtifactError, match=name if damage != "remove" or name != "brickwork.json" else "model"
    ):
        load_representation(folder)


def test_any_flipped_bit_of_the_weights_is_noticed(folder):
    path = folder / "model.safetensors"
    good = path.read_bytes()
    for place in random.Random(0).sample(range(len(good)), 20):
        bad = bytearray(good)
        bad[place] ^= 16
        path.write_bytes(bad)
        with pytest.raises(ArtifactError):
            load_representation(folder)


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_pickle_is_refused_before_it_is_read(folder, tmp_path, name):
    canary = tmp_path / "canary"
    (folder / name).write_bytes(pickle.dumps(Canary(canary)))
    rehash(folder)
    with pytest.raises(ArtifactError, match="pickle" if name == "model.safetensors" else "describe"):
        load_representation(folder)
    torch.save({"a": Canary(canary)}, folder / "model.safetensors")
    rehash(folder)
    with pytest.raises(ArtifactError, match="pickle"):
        load_representation(folder)
    assert not canary.exists()


def rewrite(folder: Path, change) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    rehash(folder)


def test_tensors_that_do_not_fit_are_named(folder):
    def change(state):
        state["stranger"] = torch.zeros(2)
        del state["body.blocks.1.mlp.up.bias"]
        state["body.embedding_norm.weight"] = torch.zeros(31)
        state["body.embedding_norm.bias"] = torch.zeros(32, dtype=torch.int64)

    rewrite(folder, change)
    with pytest.raises(ArtifactError) as caught:
        load_representation(folder)
    for part in (
        "missing ['body.blocks.1.mlp.up.bias']",
        "unexpected ['stranger']",
        "'body.embedding_norm.weight' has shape [31], not [32]",
        "'body.embedding_norm.bias' is of type I64",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "checkpoints/x.safetensors"])
def test_names_that_lead_elsewhere_are_refused(folder, name):
    edit(folder, lambda manifest: manifest["sha256"].update({name: "0" * 64}))
    with pytest.raises(ArtifactError, match="not safe"):
        load_representation(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["architecture"]["arguments"].update(vocab_size=2**45),
        lambda m: m["architecture"]["arguments"].update(num_layers=10**9),
        lambda m: m["architecture"]["arguments"].update(num_heads=0),
        lambda m: m["architecture"]["arguments"].update(width="wide"),
        lambda m: m["architecture"]["arguments"].update(surprise=1),
        lambda m: m["architecture"].update(body="os.system"),
        lambda m: m["architecture"].update(arguments=[]),
        lambda m: m["architecture"].update(max_tokens=-1),
        lambda m: m["axes"].update(dims=[64]),
        lambda m: m["axes"].update(layers=[3, 1]),
        lambda m: m["axes"].update(dims="8"),
        lambda m: m.pop("axes"),
        lambda m: m.update(card=None),
        lambda m: m.update(kind="sound"),
        lambda m: m.update(sha256={}),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(folder, change):
    edit(folder, change)
    with pytest.raises(ArtifactError, match=r"brickwork\.json|architecture"):
        load_representation(folder)


def test_random_damage_to_the_description_raises_only_our_errors(folder):
    path = folder / "brickwork.json"
    good, rng = path.read_bytes(), random.Random(1)
    for _ in range(60):
        bad = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            bad[rng.randrange(len(bad))] = rng.randrange(32, 127)
        path.write_bytes(bad)
        with contextlib.suppress(BrickworkError):
            load_representation(folder)


def test_a_header_of_impossible_size_is_refused(folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    rehash(folder)
    with pytest.raises(ArtifactError, match="header too large"):
        load_representation(folder)


def test_a_full_disk_leaves_the_old_model(model, folder, monkeypatch):
    import brickwork.core.files as files

    def full(*_):
        raise OSError(28, "No space left on device")

    before = model.fingerprint
    with torch.no_grad():
        model.encoder.body.embedding_norm.bias.add_(1)
    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(ResourceError, match="disk is full"):
        model.save(folder)
    with pytest.raises(ResourceError, match="disk is full"):
        model.save(folder.parent / "new")
    monkeypatch.undo()
    assert load_representation(folder).fingerprint == before
    assert sorted(item.name for item in folder.parent.iterdir()) == ["model"]
