"""Vectors of a frozen encoder, each computed once: by the content of the input, in memory and, if asked, on the disk.

A key is a hash of what the encoder is given (token ids, or the numbers of an image), of the layer and of the precision that
it computes in. In memory the cache belongs to one encoder, whose weights do not change; on the disk a folder for each
fingerprint of an encoder holds files that are named by the hash of their content, so that one that is damaged is noticed and
another process never overwrites one. A folder that cannot be written is told, and stops no training: vectors can be
computed again.
"""

import contextlib
import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from brickwork.core.errors import ArtifactError, ResourceError, warn
from brickwork.core.files import load_tensors, os_errors, save_tensors, sha256_file

MAX_BYTES = 2**30
"""What is kept in memory; beyond it the oldest vectors are given up."""
_KEY = 16  # bytes
_TOGETHER = 4096  # vectors written as one file


class FeatureCache:
    """Vectors by key. ``folder``: where they are kept for other runs; ``hits``, ``misses``: vectors that were there, and
    that were computed."""

    def __init__(self, folder: Path | None = None, *, max_bytes: int = MAX_BYTES):
        self.folder = folder
        self.max_bytes = max_bytes
        self.hits = self.misses = 0
        self._vectors: OrderedDict[bytes, Tensor] = OrderedDict()
        self._bytes = 0
        self._new: dict[bytes, Tensor] = {}
        self._there: set[bytes] = set()  # on the disk, though perhaps no longer in memory
        if folder is not None:
            self._read(folder)

    def __len__(self) -> int:
        return len(self._vectors)

    def __deepcopy__(self, memo: Any) -> "FeatureCache":
        """An empty one: a copy of an encoder has weights of its own."""
        return FeatureCache(max_bytes=self.max_bytes)

    def rows(
        self, keys: Sequence[bytes], compute: Callable[[list[int]], Float[Tensor, "rows dim"]], like: Tensor
    ) -> Float[Tensor, "batch dim"]:
        """The vector of each key; ``compute`` gives those of the places that are missing. On the device of ``like``."""
        missing: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            if key not in self._vectors:
                missing.setdefault(key, place)
        self.hits += len(keys) - len(missing)
        self.misses += len(missing)
        fresh: dict[bytes, Tensor] = {}
        if missing:
            with torch.no_grad():
                computed = compute(list(missing.values())).detach().cpu()
            fresh = {key: vector.clone() for key, vector in zip(missing, computed)}
        found = [fresh[key] if key in fresh else self._vectors[key] for key in keys]
        for key, vector in fresh.items():
            self._keep(key, vector)
            if self.folder is not None and key not in self._there:
                self._new[key] = vector
        if len(self._new) >= _TOGETHER:
            self.flush()
        return torch.stack(found).to(like.device)

    def flush(self) -> None:
        """Writes what is new to the folder, if there is one. If that fails (disk full, no permission), it says so and keeps
        no more on the disk."""
        if self.folder is None or not self._new:
            return
        keys = torch.tensor([list(key) for key in self._new], dtype=torch.uint8)
        tensors = {"keys": keys, "vectors": torch.stack(list(self._new.values()))}
        # Named anew each time: another process may be writing the same vectors.
        written = self.folder / f"{uuid.uuid4().hex}.new"
        try:
            save_tensors(written, tensors)
            with os_errors(self.folder):
                written.replace(self.folder / f"{sha256_file(written)}.safetensors")
        except (ResourceError, OSError) as error:
            warn(f"features are not kept on the disk: {error}")
            self.folder = None
        else:
            self._there |= self._new.keys()
        finally:
            with contextlib.suppress(OSError):
                written.unlink(missing_ok=True)
        self._new = {}

    def _keep(self, key: bytes, vector: Tensor) -> None:
        size = vector.numel() * vector.element_size()
        while self._vectors and self._bytes + size > self.max_bytes:
            _, old = self._vectors.popitem(last=False)
            self._bytes -= old.numel() * old.element_size()
        self._vectors[key] = vector
        self._bytes += size

    def _read(self, folder: Path) -> None:
        """All that can be read; a damaged file is told and left out: what was in it is computed again."""
        for path in sorted(folder.glob("*.safetensors")):
            try:
                if sha256_file(path) != path.stem:
                    raise ArtifactError(f"{path} is not what was written")
                tensors = load_tensors(path)
                keys, vectors = tensors["keys"], tensors["vectors"]
                if keys.shape != (len(vectors), _KEY):
                    raise ArtifactError(f"{path} does not hold a vector for each key")
            except (ArtifactError, KeyError, OSError) as error:
                warn(f"features in {path} are left out and computed again: {error}")
                continue
            for key, vector in zip(keys, vectors):
                self._there.add(bytes(key.tolist()))
                self._keep(bytes(key.tolist()), vector.clone())


def keys_of(rows: Sequence[Tensor], layer: int) -> list[bytes]:
    """A key for each row of what an encoder is given, for its vectors after ``layer`` in the precision of now."""
    device = rows[0].device.type if rows else "cpu"
    precision = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    about = f"{layer} {precision}".encode()

    def key(row: Tensor) -> bytes:
        array = row.detach().cpu().contiguous().numpy()
        shape = f"{array.dtype} {array.shape} ".encode()
        return hashlib.blake2b(about + shape + array.tobytes(), digest_size=_KEY).digest()

    return [key(row) for row in rows]
