"""Folders of one kind that are given for another: what they are is said, and what to do with them."""

import pytest

from brickwork.api.train import read_run
from brickwork.core.errors import ArtifactError
from brickwork.core.folders import known_folder
from brickwork.index.index import open_index
from brickwork.representation.load import load, load_representation
from brickwork.service.serving import load_served

FOLDERS = {
    "checkpoint": ("run/checkpoints/step-00000200", ["state.json", "manifest.json", "optimizer.safetensors"]),
    "checkpoints": ("run/checkpoints", ["step-00000200/state.json"]),
    "unfinished run": ("run", ["config.json", "checkpoints/step-00000200/state.json"]),
    "run": ("run", ["config.json", "brickwork.json", "checkpoints/step-1/state.json"]),
    "model": ("model", ["brickwork.json"]),
    "index": ("index", ["manifest.json", "manifest.copy.json"]),
    "segment": ("index/segments/00000002", ["documents.arrow", "../../manifest.json"]),
    "vectors": ("vectors", ["vectors.json"]),
    "data": ("data", ["manifest.json", "deep/down/a.md"]),
    "empty": ("empty", []),
    "": ("other", ["a.bin"]),
}


def made(tmp_path, kind):
    name, files = FOLDERS[kind]
    folder = tmp_path / name
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("{}")
    return folder


@pytest.mark.parametrize("kind", FOLDERS)
def test_kinds_are_told_by_the_files(tmp_path, kind):
    assert known_folder(made(tmp_path, kind)).kind == kind
    assert known_folder(tmp_path / "nothing").kind == ""


def test_a_run_without_a_checkpoint_yet_is_one(tmp_path):
    for name in ("config.json", "data.json", "metrics.jsonl"):  # metrics.jsonl looks like data
        (tmp_path / name).write_text("{}")
    assert known_folder(tmp_path).kind == "unfinished run"


def test_checkpoints_know_their_run(tmp_path, monkeypatch):
    folder = made(tmp_path, "checkpoint")
    assert known_folder(folder).owner == tmp_path / "run"
    assert known_folder(folder.parent).owner == tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    assert str(known_folder("run/checkpoints/step-00000200").owner) == "run"
    monkeypatch.chdir(folder)
    assert known_folder(".").owner == tmp_path / "run"
    folder.rename(tmp_path / "alone")
    assert known_folder(tmp_path / "alone").kind == "checkpoint"


@pytest.mark.parametrize("use", [open_index, load_served, load, load_representation, read_run])
def test_whoever_is_given_a_checkpoint_names_it_and_its_run(tmp_path, use):
    folder = made(tmp_path, "checkpoint")
    with pytest.raises(
        ArtifactError, match=rf"is a checkpoint of the run {tmp_path}/run: .*resume {tmp_path}/run"
    ):
        use(str(folder))


@pytest.mark.parametrize("kind", ["run", "model", "vectors", "segment", "data", "unfinished run"])
def test_what_is_no_index_is_told_what_it_is(tmp_path, kind):
    folder = made(tmp_path, kind)
    with pytest.raises(ArtifactError, match="is not an index: it ") as caught:
        open_index(folder)
    assert known_folder(folder).about in str(caught.value)


@pytest.mark.parametrize("kind", ["index", "vectors", "data"])
def test_what_is_no_model_or_run_is_told_what_it_is(tmp_path, kind):
    folder = made(tmp_path, kind)
    for use, words in ((load, "holds no model: it "), (read_run, "holds no run")):
        with pytest.raises(ArtifactError, match=words) as caught:
            use(folder)
        assert known_folder(folder).about in str(caught.value)
