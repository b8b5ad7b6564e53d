"""Encoding in 8-bit numbers: OpenVINO runs the encoder, quantised by nncf on texts of the user's own.

model = brickwork.load("runs/docs", engine="int8", calibration=texts)

Weights and the inputs of the matrix products become whole numbers from −128 to 127; attention and norms do not. Which
ranges the inputs have is measured once, on some hundred texts (the calibration), and the network is kept beside the
model, in the folder ``int8``:

int8-ID.xml, int8-ID.bin    the network with an output for every depth; ID is the hash of their contents
FINGERPRINT.json            written last: what it was made of, and the hashes of the two files
in-use                      only in a copy of a model that was saved while the network was in use, as an index has it
"""

import hashlib
import json
import logging
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, ConfigError, MissingExtraError
from brickwork.core.files import atomic_path, os_errors, read_json, sha256_file, write_json, write_text
from brickwork.core.types import TokenBatch
from brickwork.encoders.text import TextEncoder
from brickwork.representation.inference import float32_copy

FOLDER, IN_USE = "int8", "in-use"
FORMAT = 1
LEAST_TEXTS, MOST_TEXTS = 16, 128
"""Of the calibration: fewer say too little of the ranges, more change nothing that was measured."""
TOKEN_BUDGET = 1024
"""Tokens of a batch: its numbers should stay in the cache of one core. Measured with benchmarks/encode.py."""
_LENGTH_STEP = 8
"""Lengths are filled up to a multiple of this: OpenVINO makes, and keeps, code for every shape that it meets."""


class Int8Encoder(nn.Module):
    """What runs in the place of a :class:`TextEncoder`: the same call, the network in OpenVINO.

    ``network`` is the path of its xml file; ``id`` names its contents. Not differentiable, on the CPU only.
    """

    token_budget = TOKEN_BUDGET

    def __init__(self, network: Path, depths: Sequence[int], pad_id: int, id: str):
        super().__init__()
        self.network, self.depths, self.pad_id, self.id = network, tuple(depths), pad_id, id
        self.streams = torch.get_num_threads()
        self._compiled: dict[tuple[tuple[int, ...], int], Any] = {}
        self._lock = threading.Lock()
        self._own = threading.local()

    def forward(self, tokens: TokenBatch, layers: Sequence[int], streams: int = 1) -> dict[int, Tensor]:
        """One vector per text after each of ``layers``, not normalised; deeper layers do not run.

        ``streams``: how many threads of the caller share the processor. Shapes: B texts → (B, D) each.

        Raises:
            ConfigError: a depth that the network was not made for.
        """
        wanted = tuple(sorted(set(layers)))
        if missing := [layer for layer in wanted if layer not in self.depths]:
            raise ConfigError(
                f"layers={missing[0]} is not in the int8 network, which has {list(self.depths)}; choose one of these"
            )
        ids, mask = padded(tokens, self.pad_id)
        outputs = self._request(wanted, streams).infer({"input_ids": ids, "attention_mask": mask})
        return {layer: torch.from_numpy(np.array(outputs[n])) for n, layer in enumerate(wanted)}

    def save_in_use(self, fingerprint: str, folder: Path) -> None:
        """Keeps the network in another folder of its model too, and that it is in use there; its description comes last."""
        place = folder / FOLDER
        if place.resolve() == self.network.parent.resolve():
            return
        description = self.network.parent / f"{fingerprint}.json"
        with os_errors(place):
            place.mkdir(parents=True, exist_ok=True)
            for file in (self.network.with_suffix(".bin"), self.network, description):
                with atomic_path(place / file.name) as path:
                    path.write_bytes(file.read_bytes())
        write_text(place / IN_USE, f"{self.id}\n")

    def _request(self, layers: tuple[int, ...], streams: int) -> Any:
        """The calling thread's own request for these depths."""
        requests: dict[Any, Any] = self._own.__dict__
        key = f"{layers}/{streams}"
        if key not in requests:
            with self._lock:
                if (layers, streams) not in self._compiled:
                    self._compiled[layers, streams] = self._compile(layers, streams)
            requests[key] = self._compiled[layers, streams].create_infer_request()
        return requests[key]

    def _compile(self, layers: tuple[int, ...], streams: int) -> Any:
        import openvino

        core = openvino.Core()
        whole = core.read_model(self.network)
        outputs = [whole.output(_output(layer)) for layer in layers]
        settings = {
            "INFERENCE_NUM_THREADS": self.streams,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,  # other processes may be on the core that would be chosen
        }
        cut = openvino.Model(outputs, whole.get_parameters())  # without the layers behind the deepest
        return core.compile_model(cut, "CPU", settings)


def padded(tokens: TokenBatch, pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask, filled up to one length that is a multiple of 8. Shapes: B texts → two of (B, L)."""
    ids, mask = tokens.padded(pad_id)
    more = -ids.shape[1] % _LENGTH_STEP
    ids = nn.functional.pad(ids, (0, more), value=pad_id)
    return ids.numpy(), nn.functional.pad(mask, (0, more)).numpy()


# --- making and keeping -------------------------------------------------------------------------------------------


def check_extra() -> None:
    """Raises MissingExtraError where OpenVINO is not installed."""
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(str(error.name), "openvino", "the engine int8") from error


def check_runs(representation: Any) -> None:
    """Raises ConfigError where this is no encoder of texts that is a transformer, on the CPU."""
    encoder = representation.encoder
    if not isinstance(encoder, TextEncoder) or not hasattr(encoder.body, "exits_padded"):
        raise ConfigError("the engine int8 runs encoders of texts that are transformers; leave it out")
    if representation.device.type != "cpu":
        raise ConfigError(f"the engine int8 runs on the CPU, and the model is on {representation.device}")


def was_in_use(folder: Path) -> bool:
    """Whether the model in ``folder`` was saved while its int8 network was in use."""
    return (folder / FOLDER / IN_USE).is_file()


def id_in_use(folder: Path) -> str:
    """Which network that is."""
    with os_errors(folder):
        return (folder / FOLDER / IN_USE).read_text(encoding="utf-8").strip()


def kept(folder: Path, representation: Any) -> Int8Encoder | None:
    """The network for this model that is kept in ``folder``, or ``None``.

    Raises:
        ArtifactError: there is one, and it is damaged.
    """
    path = folder / FOLDER / f"{representation.fingerprint}.json"
    if not path.is_file():
        return None
    about = read_json(path)
    again = f"remove {folder / FOLDER} and calibrate again"
    try:
        name, hashes, depths = str(about["id"]), about["sha256"], [int(depth) for depth in about["depths"]]
        good = about["format"] == FORMAT and set(hashes) == {f"int8-{name}.xml", f"int8-{name}.bin"}
    except (KeyError, TypeError, ValueError):
        good = False
    if not good or not name.isalnum():
        raise ArtifactError(f"{path} does not describe an int8 network of format {FORMAT}; {again}")
    for file, wanted in hashes.items():
        place = path.parent / file
        if not place.is_file() or sha256_file(place) != wanted:
            raise ArtifactError(f"{place} is missing or is not the file that was written; {again}")
    pad_id = representation.encoder.pad_id
    return Int8Encoder(path.parent / f"int8-{name}.xml", depths, pad_id, name)


def make(representation: Any, texts: Iterable[str], folder: Path) -> Int8Encoder:
    """Quantises the encoder on at most ``MOST_TEXTS`` of ``texts``, drawn evenly, and keeps the network in ``folder``.

    Raises:
        MissingExtraError: openvino or nncf is not installed.
        ConfigError: too few texts.
        ResourceError: disk full, read-only folder.
    """
    encoder = representation.encoder
    rows = _evenly(list(texts))
    if len(rows) < LEAST_TEXTS:
        raise ConfigError(
            f"the engine int8 is calibrated on texts, and {len(rows)} is too few; give {LEAST_TEXTS} or more, better "
            f"{MOST_TEXTS}, of the kind that will be encoded"
        )
    depths = encoder.depths
    place = folder / FOLDER
    with os_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="brickwork-") as temporary:
        file = Path(temporary) / "network.xml"
        _quantise(encoder, depths, representation.prompted(rows, "document"), file)
        parts = {suffix: file.with_suffix(suffix).read_bytes() for suffix in (".xml", ".bin")}
    name = hashlib.sha256(b"".join(parts.values())).hexdigest()[:16]
    hashes = {}
    for suffix, content in parts.items():
        with atomic_path(place / f"int8-{name}{suffix}") as path, os_errors(path):
            path.write_bytes(content)
        hashes[f"int8-{name}{suffix}"] = hashlib.sha256(content).hexdigest()
    write_json(
        place / f"{representation.fingerprint}.json",
        {
            "format": FORMAT,
            "id": name,
            "fingerprint": representation.fingerprint,
            "depths": list(depths),
            "texts": len(rows),
            "texts_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
            "versions": _versions(),
            "sha256": hashes,
        },
    )
    return Int8Encoder(place / f"int8-{name}.xml", depths, encoder.pad_id, name)


class _Exits(nn.Module):
    """All depths of an encoder, from one pass over padded texts."""

    def __init__(self, encoder: TextEncoder, depths: Sequence[int]):
        super().__init__()
        self.encoder, self.depths = encoder, tuple(depths)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Shapes: two of (B, L) → (B, D) for each depth."""
        vectors = self.encoder.exits_padded(input_ids, attention_mask, self.depths)
        return tuple(vectors[depth] for depth in self.depths)


def _quantise(encoder: TextEncoder, depths: Sequence[int], texts: Sequence[str], file: Path) -> None:
    """Writes the quantised network. Products of attention stay as they are: 8 bits made them no faster."""
    samples = [padded(encoder.tokenize([text]), encoder.pad_id) for text in texts]
    names = ("input_ids", "attention_mask")
    with _quiet_and_private():
        try:
            import nncf
            import openvino
        except ImportError as error:
            raise MissingExtraError(str(error.name), "openvino", "calibrating the engine int8") from error
        nncf.set_log_level(logging.ERROR)
        network = openvino.convert_model(
            _Exits(float32_copy(encoder), depths),
            example_input=dict(zip(names, map(torch.from_numpy, samples[0]))),
            input=[(name, [-1, -1]) for name in names],
        )
        for depth, output in zip(depths, network.outputs):
            output.get_tensor().set_names({_output(depth)})
        quantised = nncf.quantize(
            network,
            nncf.Dataset([dict(zip(names, sample)) for sample in samples]),
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(types=["ScaledDotProductAttention"], validate=False),
        )
        openvino.save_model(quantised, file, compress_to_fp16=False)


def _output(depth: int) -> str:
    return f"after_{depth}"


def _evenly(texts: Sequence[str]) -> list[str]:
    """At most ``MOST_TEXTS``, from everywhere in the list."""
    count = min(len(texts), MOST_TEXTS)
    return [texts[row * len(texts) // count] for row in range(count)]


def _versions() -> dict[str, str]:
    import importlib.metadata

    return {name: importlib.metadata.version(name) for name in ("openvino", "nncf")}


@contextmanager
def _quiet_and_private() -> Iterator[None]:
    """Without progress bars and tracer's warnings; and nothing is sent to the makers of the two libraries, which count uses
    unless they are told that they run in a test."""
    settings = {"CI": "true", "NNCF_CI": "1"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
