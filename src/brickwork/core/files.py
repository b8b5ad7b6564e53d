"""Every file that Brickwork writes or trusts goes through here.

Writing is atomic: a temporary sibling is written, flushed, synced and renamed, so a reader (or a restart)
sees the old file or the new one, never half of one. Reading tensors accepts safetensors only, and looks at
the file's size and header before anything is allocated: a pickle is refused before it is read.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brickwork.core.errors import ArtifactError, ConfigError, ResourceError

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from torch import Tensor

_TEMPORARY = ".partial-"
_LOCK_SECONDS = 0.1
_SURROGATE = re.compile("[\ud800-\udfff]")


@contextlib.contextmanager
def os_errors(path: Path | str) -> Iterator[None]:
    """Turns the operating system's refusals into one clear :class:`ResourceError` that names ``path``.

    Also where safetensors reports them: its writer has words of its own, with the system's number at the end.
    """
    try:
        yield
    except Exception as error:
        number = _system_number(error)
        reasons = {
            errno.ENOSPC: "the disk is full; free some space or choose another folder",
            errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
            errno.EFBIG: "the file is larger than is allowed here; raise the limit or choose another folder",
            errno.EACCES: "no permission to write here; choose another folder",
            errno.EPERM: "no permission to write here; choose another folder",
            errno.EROFS: "the file system is read-only; choose another folder",
            errno.ENOENT: "there is no such folder and it cannot be made; choose another",
            errno.ENOTDIR: "a file stands where a folder is needed; choose another folder",
            errno.EEXIST: "a file stands where a folder is needed; choose another folder",
            errno.EISDIR: "a folder stands where a file is needed; choose another name",
            errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
            errno.ELOOP: "its links lead round in a circle; choose another folder",
        }
        if number in reasons:
            raise ResourceError(f"cannot write {path}: {reasons[number]}") from error
        raise


def _system_number(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    if type(error).__name__ == "SafetensorError" and (found := re.search(r"os error (\d+)", str(error))):
        return int(found[1])
    return None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Gives a temporary sibling of ``path`` to write to; it replaces ``path`` when the block ends well.

    If the block raises, the temporary file is removed and ``path`` is as it was.

    Raises:
        ResourceError: disk full, read-only folder, no permission.
    """
    path = Path(path)
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes private files; ours are ordinary ones
            os.replace(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def refuse_filled(folder: Path | str) -> None:
    """Refuses to put a folder in the place of what a user may have there.

    Raises:
        ConfigError: it is a file, or a folder with something in it.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty; choose another folder")


@contextlib.contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Gives a temporary sibling folder; it takes the place of ``path`` when the block ends well.

    An existing ``path`` is moved aside first and removed after the exchange.

    Raises:
        ResourceError: disk full, read-only folder, no permission.
    """
    path = Path(path)
    with _temporary_folder(path, path.parent) as temporary:
        yield temporary
        _sync_files(temporary)
        os.chmod(temporary, 0o755)
        _exchange(temporary, path)


@contextlib.contextmanager
def staged_folder(path: Path | str) -> Iterator[Path]:
    """Gives a temporary folder; what lies in it when the block ends well takes its place in the folder ``path``, in turn.

    What else is in ``path`` stays. If the block raises, nothing has changed, and a disk that is full is so before anything
    has its place.

    Raises:
        ResourceError: disk full, read-only folder, no permission.
    """
    path = Path(path)
    fresh = not path.exists()
    try:
        with _temporary_folder(path, path) as temporary:
            yield temporary
            _sync_files(temporary)
            for item in sorted(temporary.iterdir()):
                _exchange(item, path / item.name)
    finally:
        if fresh:
            with contextlib.suppress(OSError):  # it holds something, or was never made
                path.rmdir()


@contextlib.contextmanager
def _temporary_folder(path: Path, parent: Path) -> Iterator[Path]:
    """A folder in ``parent`` that is gone at the end; errors of what is written there name ``path``."""
    with os_errors(path):
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=_TEMPORARY, dir=parent))
        try:
            yield temporary
        except ResourceError as error:
            raise ResourceError(str(error).replace(str(temporary), str(path))) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _sync_files(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with open(file, "rb") as written:
                os.fsync(written.fileno())


def _exchange(new: Path, path: Path) -> None:
    """Puts ``new`` in the place of ``path``; a folder that is there is moved aside first, and removed afterwards."""
    if not path.is_dir():
        os.replace(new, path)
        _sync_folder(path.parent)
        return
    old = path.parent / f"{_TEMPORARY}{secrets.token_hex(4)}-old"
    os.replace(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        os.replace(old, path)
        raise
    _sync_folder(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(folder: Path | str) -> int:
    """Removes the temporary files of interrupted writes directly in ``folder``; returns how many."""
    leftovers = list(Path(folder).glob(f"{_TEMPORARY}*"))
    for item in leftovers:
        shutil.rmtree(item, ignore_errors=True) if item.is_dir() else item.unlink(missing_ok=True)
    return len(leftovers)


def write_text(path: Path | str, text: str) -> None:
    """Writes ``text`` as UTF-8, atomically; lone surrogates, which have no UTF-8 form, as U+FFFD."""
    with atomic_path(path) as temporary:
        temporary.write_text(_SURROGATE.sub("\ufffd", text), encoding="utf-8")


def write_json(path: Path | str, value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically. NaN and infinities are refused: they are not JSON.

    Names of files that are not valid Unicode come back as they were.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    if not text.isascii() and _SURROGATE.search(text):
        text = json.dumps(value, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def plain(value: Any) -> Any:
    """``value`` as JSON has it: single numbers of numpy and torch as Python's, and ``None`` for NaN and infinities."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path | str, *, max_bytes: int = 64 * 1024 * 1024) -> Any:
    """The value in a JSON file.

    Raises:
        ArtifactError: the file is missing, longer than ``max_bytes`` or not JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; check the path, or make the folder again")
    if path.stat().st_size > max_bytes:
        raise ArtifactError(
            f"{path} has {path.stat().st_size} bytes, more than the {max_bytes} that fit here"
        )
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not valid JSON ({error}); the file is damaged") from error


def checksum(values: Mapping[str, Any]) -> str:
    """The SHA-256 of a manifest's values, its own ``checksum`` left out.

    A manifest vouches for other files with their hashes; this vouches for the manifest.
    """
    plain = json.loads(json.dumps({key: value for key, value in values.items() if key != "checksum"}))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sha256_file(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_tensors(
    path: Path | str, tensors: Mapping[str, "Tensor"], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes named tensors as one safetensors file, atomically.

    Raises:
        ResourceError: disk full, read-only folder, no permission.
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        # Without tensors, safetensors writes a broken header where there is an empty dictionary of metadata.
        save_file(plain, temporary, metadata=dict(metadata) if metadata else None)


def check_tensor_file(path: Path | str) -> dict[str, Any]:
    """The header of a safetensors file, as its own reader takes it: shape and dtype of each tensor, without loading one.

    It verifies header, shapes and places against the file's true size. Metadata stand under ``__metadata__``.

    Raises:
        ArtifactError: missing, a pickle or zip, truncated, or a header that contradicts the file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise ArtifactError(f"{path} is missing; check the path, or make the folder again")
    try:
        with safe_open(path, "numpy") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            header = {
                name: {"dtype": part.get_dtype(), "shape": part.get_shape()} for name, part in parts.items()
            }
            return header | ({"__metadata__": metadata} if (metadata := file.metadata()) else {})
    except SafetensorError as error:
        reason = f"{error}: it has {path.stat().st_size} bytes, and is truncated, damaged or not safetensors"
        with open(path, "rb") as file:
            start = file.read(2)
        if start == b"PK" or start[:1] == b"\x80":
            reason = "it is a pickle or a zip archive, and those are never loaded; only safetensors are"
        raise ArtifactError(
            f"{path} was refused: {reason}. Use a good copy of the file or make it again"
        ) from error


def load_tensors(path: Path | str) -> dict[str, "Tensor"]:
    """The tensors of a safetensors file, after :func:`check_tensor_file`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_tensor_file(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ArtifactError(f"{path} was refused: {error}. Use a good copy of the file") from error


class FolderLock:
    """One writer a folder: the operating system's own lock on a file in it, which ends with the process that holds it.

    Who holds it is written into the file once it is held, and shown to those who are refused. On a network file system it
    is as good as that system's locks: NFS of version 4 has them, older ones need a lock service on every machine.

    Raises:
        ResourceError: on entering, if another process, or another lock of this one, holds the folder.
    """

    def __init__(self, folder: Path | str, purpose: str = "writing"):
        self.path = Path(folder) / ".lock"
        self.purpose = purpose
        self._lock: BaseFileLock | None = None

    def __enter__(self) -> "FolderLock":
        from filelock import FileLock, Timeout

        with os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not without any time: the file may be that of a writer who is just deleting it, then the next try is good.
            lock = FileLock(
                self.path, timeout=_LOCK_SECONDS, poll_interval=_LOCK_SECONDS / 5, thread_local=False
            )
            try:
                lock.acquire()
            except Timeout:
                raise self._held() from None
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "purpose": self.purpose}
            try:
                self.path.write_text(json.dumps(owner), encoding="utf-8")
            except BaseException:
                lock.release()
                raise
        self._lock = lock
        return self

    def __exit__(self, *_: object) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            with os_errors(self.path):
                try:
                    # While it is held: whoever waits for the deleted file sees that it is gone, and makes a new one.
                    self.path.unlink(missing_ok=True)
                finally:
                    lock.release()

    def _held(self) -> ResourceError:
        who = "another process is writing there"
        with contextlib.suppress(OSError, ValueError):  # let go since, or not yet written
            holder = json.loads(self.path.read_text(encoding="utf-8"))
            if isinstance(holder, dict):
                who = f"process {holder.get('pid')} on {holder.get('host')} is {holder.get('purpose')} there"
        return ResourceError(
            f"{self.path.parent} is in use: {who}. Wait until it is done, or choose another folder"
        )
