"""Models from and to the Hugging Face hub, through huggingface-hub."""

import re
import tempfile
from pathlib import Path
from typing import Any

from brickwork.core.errors import ArtifactError, ConfigError

# Old models of the hub have no organisation ("bert-base-uncased").
_HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*")
# What a model is made of; code, pickles and copies for other runtimes stay where they are.
_WANTED = ["*.json", "*.safetensors", "README.md", "vocab.txt", "merges.txt", "*.model"]
_UNWANTED = ["onnx/*", "openvino/*", "checkpoints/*", "index/*"]


def download(path: Path | str, revision: str | None = None) -> Path:
    """The folder of a model: ``path`` itself if it is one, else the local copy of that hub repository.

    Raises:
        ConfigError: a revision of a folder.
        ArtifactError: neither a folder nor a repository that can be fetched.
    """
    folder = Path(path).expanduser()
    if path == "minilm" and not folder.exists():  # as --backbone takes it
        from brickwork.encoders.build import minilm_folder

        return minilm_folder()
    if folder.is_dir():
        if revision is not None:
            raise ConfigError(f"revision={revision!r} has no effect with the folder {folder}; leave it out")
        return folder
    if folder.exists() or isinstance(path, Path) or not _HUB_ID.fullmatch(path):
        raise ArtifactError(
            f"{path} is not a model folder; give a run folder, a SentenceTransformer folder, minilm, or a hub id "
            "such as organisation/name"
        )
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            huggingface_hub.snapshot_download(
                path, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ArtifactError(
            f"{path} is not a folder here and could not be fetched from the hub ({_first_line(error)}); "
            "check the name and the network"
        ) from error


def push(representation: Any, repo_id: str, *, private: bool = False, revision: str | None = None) -> str:
    """Uploads the model's folder to ``repo_id``, made if need be, and returns the commit's address.

    Raises:
        ArtifactError: not logged in, not allowed, or no network.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = huggingface_hub.HfApi(library_name="brickwork")
    with tempfile.TemporaryDirectory(prefix="brickwork-") as place:
        folder = representation.save(Path(place) / "model")
        try:
            hub.create_repo(repo_id, private=private, exist_ok=True)
            commit = hub.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message=f"Brickwork model {representation.fingerprint}",
            )
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise ArtifactError(
                f"the model could not be uploaded to {repo_id} ({_first_line(error)}); "
                "log in with: hf auth login"
            ) from error
    return str(commit.commit_url)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
