"""The hub, without a network: the library's calls are replaced by a local folder."""

import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from brickwork.core.errors import ArtifactError
from brickwork.representation.hub import download
from brickwork.representation.load import load_representation


def test_what_is_pushed_can_be_loaded(model, tmp_path, monkeypatch):
    asked = {}

    class Hub:
        def __init__(self, **_):
            pass

        def create_repo(self, repo_id, *, private, exist_ok):
            asked["create"] = (repo_id, private, exist_ok)

        def upload_folder(self, *, repo_id, folder_path, revision, commit_message):
            shutil.move(folder_path, tmp_path / "remote")
            asked["upload"] = (repo_id, revision, commit_message)
            return SimpleNamespace(commit_url="https://hub/commit/1")

    def snapshot(repo_id, *, revision, allow_patterns, ignore_patterns):
        asked["download"] = (repo_id, revision)
        assert "*.py" not in allow_patterns
        assert "*.safetensors" in allow_patterns
        return str(tmp_path / "remote")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert model.push_to_hub("me/mine", private=True, revision="next") == "https://hub/commit/1"
    assert asked["create"] == ("me/mine", True, True)
    assert asked["upload"] == ("me/mine", "next", f"Brickwork model {model.fingerprint}")
    assert load_representation("me/mine", revision="abc").fingerprint == model.fingerprint
    assert asked["download"] == ("me/mine", "abc")


def test_no_network_is_one_clear_error(model, monkeypatch):
    def unreachable(*_, **__):
        raise LocalEntryNotFoundError("cannot reach the hub\nand more")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", unreachable)
    with pytest.raises(
        ArtifactError, match=r"nobody/nothing is not a folder here .*\(cannot reach the hub\)"
    ):
        load_representation("nobody/nothing")
    with pytest.raises(ArtifactError, match="could not be uploaded to me/mine"):
        model.push_to_hub("me/mine")


@pytest.mark.parametrize("name", ["../a/b", "a/b/c", "/a/b", "./a", "a/", "a/..", "", "a b", "a b/c"])
def test_what_is_not_a_hub_id_never_reaches_the_hub(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: pytest.fail("asked the hub"))
    if name == "":
        assert str(download(name)) == "."  # the empty path is the current folder, as in the shell
        return
    with pytest.raises(ArtifactError, match="is not a model folder"):
        download(name)


def test_old_models_of_the_hub_have_no_organisation(model, monkeypatch, tmp_path):
    asked = []
    monkeypatch.chdir(tmp_path)
    folder = model.save(tmp_path / "remote")
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name) or str(folder)
    )
    assert load_representation("bert-base-uncased").fingerprint == model.fingerprint
    assert asked == ["bert-base-uncased"]
