"""Bricks: changes of one base model, kept as small files, that are put on and taken off without a trace.

Xiao et al.: Configurable Foundation Models, arXiv 2409.02877 (custom bricks). A library is a folder:

    LIBRARY/NAME/brick.json            kind, the hash of its base, scale, what it was trained on, scores, hashes of its file
    LIBRARY/NAME/brick.safetensors     its weights, and the keys that requests are compared with

| kind    | weights                          | what it does to the base                                    |
|---------|----------------------------------|-------------------------------------------------------------|
| lora    | A (r, d), B (m, r) of each layer | W0 + s·B[:, :b]·A[:b], at any rank b up to r                |
| delta   | ΔW of each layer                 | W0 + ΔW: what several merged bricks are                     |
| prompt  | (p, D)                           | p vectors before the embeddings of the first tokens         |
| expert  | up (h, D), down (D, h) of layers | MLP(x) + down·gelu(up·x): a block of neurons beside an MLP  |
| neurons | numbers of neurons, by layer     | silences them: an emergent brick is taken out               |

:mod:`brickwork.modules.mounting` puts them on a model and takes them off.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, nn

from brickwork.core.errors import ArtifactError, ConfigError
from brickwork.core.files import (
    atomic_folder,
    checksum,
    load_tensors,
    read_json,
    refuse_filled,
    save_tensors,
    sha256_file,
    staged_folder,
    write_json,
)
from brickwork.modules.adapters import LoraAdapters
from brickwork.modules.brick_checks import wrong_contents, wrong_values
from brickwork.modules.low_rank import Scaling, layer_shape
from brickwork.modules.model_hash import model_hash

Kind = Literal["lora", "delta", "prompt", "expert", "neurons"]
_CARD, _WEIGHTS, _KEYS = "brick.json", "brick.safetensors", "keys."
_FORMAT = 2  # 1 knew its base by the weights alone


@dataclass(frozen=True, kw_only=True)
class Brick:
    """``base``: the hash of the model that it changes (:func:`~brickwork.modules.model_hash.model_hash`). ``weights``: see
    the table above; of ``lora`` ``LAYER.A`` and ``LAYER.B``, of ``expert`` ``MLP.up`` and ``MLP.down``, of ``neurons``
    names like ``layers.3.ffn``. ``keys``: vectors by name, for routing. ``trained_on`` and ``scores``: plain values for
    people.

    Raises:
        ConfigError: no such kind or scaling, or an alpha that is no number above 0; of other kinds than ``lora``: any.
    """

    name: str
    kind: Kind
    base: str
    weights: Mapping[str, Tensor]
    alpha: float | None = None
    scaling: Scaling | None = None
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ConfigError(f"kind is {self.kind!r}; it must be one of {', '.join(get_args(Kind))}")
        if wrong := next(wrong_values(self), None):
            raise ConfigError(f"brick '{self.name}': {wrong}")

    @property
    def max_rank(self) -> int:
        """r of a ``lora`` brick; of all others 0: they have no ranks."""
        if self.kind != "lora":
            return 0
        return next(part.shape[0] for name, part in self.weights.items() if name.endswith(".A"))

    @property
    def num_parameters(self) -> int:
        """Numbers in its weights."""
        return sum(part.numel() for part in self.weights.values())

    def layers(self) -> list[str]:
        """The names of the parts of the base that it changes; of a ``prompt`` none."""
        if self.kind in ("prompt", "delta", "neurons"):
            return [] if self.kind == "prompt" else sorted(self.weights)
        return sorted({name.rpartition(".")[0] for name in self.weights})

    def change(self, rank: int | None = None) -> dict[str, Tensor]:
        """ΔW of each layer, (outputs, inputs …): Δ_b = s·B[:, :b]·A[:b] at ``rank`` b (none: r).

        Raises:
            ConfigError: a kind that is no change of weights, or a rank that it does not have.
        """
        if self.kind == "delta":
            self.refuse_rank(rank)
            return dict(self.weights)
        if self.kind != "lora":
            raise ConfigError(
                f"brick '{self.name}' is of kind {self.kind}, which changes no weights: it is applied alone, not merged"
            )
        b = self.max_rank if rank is None else rank
        if not 1 <= b <= self.max_rank:
            raise ConfigError(f"rank={rank} is outside 1 … {self.max_rank}, the ranks of brick '{self.name}'")
        return {name: self._delta(name, b) for name in self.layers()}

    def at_rank(self, rank: int) -> "Brick":
        """The brick cut to ``rank``, for good, with the same effect as at that rank before. Raises as :meth:`change`."""
        self.change(rank)
        cut = {n: part[:rank] if n.endswith(".A") else part[:, :rank] for n, part in self.weights.items()}
        assert self.alpha is not None, "checked where bricks are made"
        alpha = self.alpha * (rank / self.max_rank if self.scaling == "alpha/r" else 1)
        return replace(self, weights={name: part.clone() for name, part in cut.items()}, alpha=alpha)

    def _delta(self, layer: str, rank: int) -> Tensor:
        down, up = self.weights[f"{layer}.A"][:rank], self.weights[f"{layer}.B"][:, :rank]
        assert self.alpha is not None, "checked where bricks are made"
        assert self.scaling is not None, "the same"
        divisor = {"alpha/b": rank, "alpha/r": self.max_rank, "alpha/sqrt(b)": math.sqrt(rank)}
        scale = self.alpha / divisor[self.scaling]
        return (scale * (up.float() @ down.float().flatten(1))).view(-1, *down.shape[1:])

    def refuse_rank(self, rank: int | None) -> None:
        """For kinds without ranks."""
        if rank is not None:
            raise ConfigError(
                f"rank={rank}: brick '{self.name}' is of kind {self.kind} and has no ranks; leave it out"
            )

    def save(self, library: Path | str) -> Path:
        """Writes ``library/NAME`` at once, in place of a brick of that name, and returns it.

        Raises:
            ConfigError: the name is none for a folder, the folder holds something else, or the brick no numbers.
            ResourceError: disk full, read-only folder.
        """
        folder = self.check_place(library)
        tensors = {**self.weights, **{_KEYS + name: key for name, key in self.keys.items()}}
        with atomic_folder(folder) as temporary:
            save_tensors(temporary / _WEIGHTS, tensors, {"format": "pt"})
            plain = {
                k: v
                for k, v in asdict(replace(self, weights={}, keys={})).items()
                if k not in ("weights", "keys")
            }
            card = {"format": _FORMAT, **plain, "weights_sha256": sha256_file(temporary / _WEIGHTS)}
            write_json(temporary / _CARD, {**card, "checksum": checksum(card)})
        return folder

    def check_place(self, library: Path | str) -> Path:
        """The folder in ``library`` that it may be written to. Raises ConfigError as :meth:`save`."""
        check_name(self.name)
        if wrong := next(wrong_contents(self), None):
            raise ConfigError(f"brick '{self.name}' cannot be kept: {wrong}")
        folder = Path(library) / self.name
        if not (folder / _CARD).is_file():
            refuse_filled(folder)
        return folder


def save_bricks(bricks: Iterable[Brick], library: Path | str) -> Path:
    """Writes bricks into a library, all of them or, where one cannot be written, none. Raises as :meth:`Brick.save`."""
    bricks = list(bricks)
    for brick in bricks:
        brick.check_place(library)
    with staged_folder(library) as place:
        for brick in bricks:
            brick.save(place)
    return Path(library)


def check_name(name: str) -> None:
    """Refuses what is no name of a folder, or could be read as several bricks.

    Raises:
        ConfigError: it is empty, starts with a dot, has blanks at its ends, or other signs than letters, digits, ``_``,
            ``.``, ``-`` and blanks.
    """
    good = name and name.strip() == name and all(c.isalnum() or c in "_. -" for c in name)
    if not good or name in ("auto", "base") or name.startswith(("-", ".")):
        raise ConfigError(
            f"'{name}' cannot be the name of a brick; use letters, digits, '_', and '.', '-' and blanks inside, and not "
            "auto or base"
        )


def load_brick(folder: Path | str) -> Brick:
    """The brick in ``folder``.

    Raises:
        ArtifactError: no brick, damaged, changed since it was written, or with values that no brick has.
    """
    folder = Path(folder)
    card = read_json(folder / _CARD)
    if not isinstance(card, dict) or card.get("checksum") != checksum(card):
        raise ArtifactError(
            f"{folder / _CARD} was changed after it was written, or is damaged; use a good copy"
        )
    if card.get("format") != _FORMAT:
        raise ArtifactError(
            f"{folder / _CARD} is of a form that this version does not read; write the brick anew"
        )
    if not (folder / _WEIGHTS).is_file() or sha256_file(folder / _WEIGHTS) != card.get("weights_sha256"):
        raise ArtifactError(
            f"{folder / _WEIGHTS} is missing or not the file that belongs to {_CARD}; use a good copy"
        )
    tensors = load_tensors(folder / _WEIGHTS)
    keys = {name.removeprefix(_KEYS): part for name, part in tensors.items() if name.startswith(_KEYS)}
    weights = {name: part for name, part in tensors.items() if not name.startswith(_KEYS)}
    plain = {k: v for k, v in card.items() if k not in ("format", "weights_sha256", "checksum")}
    try:
        brick = Brick(**plain, weights=weights, keys=keys)
        check_name(brick.name)
    except TypeError as error:
        raise ArtifactError(f"{folder / _CARD} does not describe a brick ({error}); write it anew") from error
    except ConfigError as error:
        raise ArtifactError(f"{folder / _CARD}: {error}. Write the brick anew") from error
    if wrong := next(wrong_contents(brick), None):
        raise ArtifactError(f"{folder}: brick '{brick.name}' cannot be read: {wrong}. Write the brick anew")
    return brick


def load_library(folder: Path | str) -> dict[str, Brick]:
    """All bricks of a library by name, ascending.

    Raises:
        ArtifactError: no folder, no brick in it, a damaged one, one under another name, or one whose writing was broken off.
    """
    folder = Path(folder)
    places = sorted(folder.iterdir()) if folder.is_dir() else []
    if lost := [
        place for place in places if place.name.startswith(".partial-") and place.name.endswith("-old")
    ]:
        raise ArtifactError(
            f"{lost[0]} is a brick that was being replaced when the process was killed: give it the name that its {_CARD} "
            "says, or delete it if that brick is there"
        )
    own = [place for place in places if place.is_dir() and not place.name.startswith(".")]
    if bare := [place for place in own if (place / _WEIGHTS).is_file() and not (place / _CARD).is_file()]:
        raise ArtifactError(f"{bare[0]} has no {_CARD} beside its weights; use a good copy, or delete it")
    own = [place for place in own if (place / _CARD).is_file()]
    if not own:
        raise ArtifactError(
            f"{folder} is no library of bricks (a folder with one sub-folder for each, holding {_CARD}); check the path"
        )
    bricks = {place.name: load_brick(place) for place in own}
    for name, brick in bricks.items():
        if brick.name != name:
            raise ArtifactError(
                f"{folder / name} holds the brick '{brick.name}': a brick lies under its own name; rename the folder, or "
                "delete it"
            )
    return bricks


def from_adapters(adapters: LoraAdapters, name: str, *, tokenizer: Any = None, **about: Any) -> Brick:
    """A brick of the adapters on a model, at all their ranks. ``tokenizer``: of the model; with it the brick is refused on a
    base that reads other tokens. ``about``: keys, trained_on, scores.

    Raises:
        ConfigError: they are merged into the model, or the name is none.
    """
    check_name(name)
    if any(layer.merged is not None for layer in adapters.layers.values()):
        raise ConfigError("adapters that are merged have changed their base; unmerge them first")
    factors = adapters.factors(adapters.max_rank)
    weights = {
        f"{layer}.{letter}": f.clone() for layer, pair in factors.items() for letter, f in zip("AB", pair)
    }
    base = model_hash(adapters.model, tokenizer)
    return Brick(name=name, kind="lora", base=base, weights=weights, alpha=adapters.alpha, scaling=adapters.scaling,
                 **about)  # fmt: skip


def from_peft(
    folder: Path | str, name: str, model: nn.Module, *, tokenizer: Any = None, **about: Any
) -> Brick:
    """A brick of a LoRA adapter of peft for ``model``, whose hash it takes: peft itself keeps no hash of the base.

    ``tokenizer`` and ``about`` as in :func:`from_adapters`.

    Raises:
        ArtifactError: no adapter in safetensors, damaged, or of a kind other than plain LoRA.
        ConfigError: it is for layers that ``model`` does not have, or has in other sizes.
    """
    check_name(name)
    folder = Path(folder)
    config = read_json(folder / "adapter_config.json")
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise ArtifactError(f"{folder} is no LoRA adapter of peft; only these can be read")
    more = [
        option
        for option in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "lora_bias")
        if config.get(option)
    ]
    if more or config.get("bias", "none") != "none":
        raise ArtifactError(
            f"{folder / 'adapter_config.json'}: {', '.join(more) or 'bias'} is not supported; train it without"
        )
    layers = dict(model.named_modules())
    weights = {}
    for key, part in load_tensors(folder / "adapter_model.safetensors").items():
        layer, _, end = key.removeprefix("base_model.model.").rpartition(".lora_")
        if end not in ("A.weight", "B.weight"):
            raise ArtifactError(
                f"{folder}: {key} is no weight of a plain LoRA; train it without what wrote this"
            )
        if layer not in layers:
            raise ConfigError(
                f"{folder} adapts {layer}, which this model does not have; name the model it was trained on"
            )
        weights[f"{layer}.{end[0]}"] = part.flatten(1) if end[0] == "B" else part
    for layer in {name.rpartition(".")[0] for name in weights}:
        inputs, outputs, _ = layer_shape(layers[layer])
        shapes = [
            tuple(weights[f"{layer}.{letter}"].shape) if f"{layer}.{letter}" in weights else ()
            for letter in "AB"
        ]
        rank = config.get("r")
        if shapes != [(rank, inputs), (outputs, rank)]:
            raise ConfigError(
                f"{folder} adapts {layer} with factors of {shapes[0]} and {shapes[1]}, and that layer of this model has "
                f"{inputs} inputs and {outputs} outputs; name the model it was trained on"
            )
    scaling: Scaling = "alpha/sqrt(b)" if config.get("use_rslora") else "alpha/r"
    base = model_hash(model, tokenizer)
    return Brick(name=name, kind="lora", base=base, weights=weights, alpha=float(config["lora_alpha"]), scaling=scaling,
                 **about)  # fmt: skip
