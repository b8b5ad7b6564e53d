"""API keys: read once, kept as digests only, compared in constant time."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from pathlib import Path

from brickwork.core.errors import ConfigError, warn

VARIABLE = "BRICKWORK_API_KEYS"
MIN_CHARACTERS = 16
_KEY = re.compile(r"[\x21-\x7e]+")


def digest(key: str) -> bytes:
    """What the server remembers of a key."""
    return hashlib.sha256(key.encode()).digest()


def read_keys(file: Path | None, variable: str | None) -> tuple[bytes, ...]:
    """Digests of the keys in a file (one a line; ``#`` starts a comment) and in the text of the variable.

    Raises:
        ConfigError: a file that cannot be read or holds no key, or a key that is short or not plain ASCII.
            The message gives the place of a key, never the key.
    """
    entries: list[tuple[str, str]] = []
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"--api-key-file {file} cannot be read ({type(error).__name__}); give a text file with one key a line"
            ) from error
        if file.stat().st_mode & 0o077:
            warn(f"{file} can be read by other users of this machine: chmod 600 {file}")
        kept = [(f"line {number} of {file}", line.strip()) for number, line in enumerate(lines, 1)]
        entries += [(place, key) for place, key in kept if key and not key.startswith("#")]
        if not entries:
            raise ConfigError(
                f"--api-key-file {file} holds no key; write one key a line (openssl rand -hex 32 makes one)"
            )
    entries += [
        (f"key {n} of {VARIABLE}", key) for n, key in enumerate(re.split(r"[\s,]+", variable or ""), 1) if key
    ]
    for place, key in entries:
        if len(key) < MIN_CHARACTERS or not _KEY.fullmatch(key):
            raise ConfigError(
                f"{place} is no usable API key: it takes at least {MIN_CHARACTERS} characters, ASCII letters, digits "
                "and signs without spaces (openssl rand -hex 32 makes one)"
            )
    return tuple(dict.fromkeys(digest(key) for _, key in entries))


def is_known(key: str, digests: Sequence[bytes]) -> bool:
    """Whether ``key`` is one of the keys; takes as long for any answer."""
    given = digest(key)
    matches = [hmac.compare_digest(given, known) for known in digests]
    return any(matches)
