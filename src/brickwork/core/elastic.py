"""Elasticity: along which axes a representation can be cut, what a cut costs, what the user may ask for."""

from collections.abc import Sequence
from dataclasses import dataclass

from brickwork.core.errors import ConfigError
from brickwork.core.values import whole_number


@dataclass(frozen=True, kw_only=True)
class ElasticAxes:
    """The sizes a representation was trained for.

    ``dims``: prefix lengths, ascending, the last is the full width. ``layers``: depths, ascending, the last
    is the full depth; one entry means that depth was not trained to be cut. Depth 0 is that of the embeddings, where no
    layer runs; it can be asked for where it was trained.
    """

    dims: tuple[int, ...]
    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("dims", "layers"):
            values = getattr(self, name)
            least = 0 if name == "layers" else 1
            if not values or list(values) != sorted(set(values)) or values[0] < least or values[-1] < 1:
                raise ConfigError(f"{name} must be ascending, distinct and positive; got {list(values)}")

    @property
    def full_dim(self) -> int:
        return self.dims[-1]

    @property
    def num_layers(self) -> int:
        return self.layers[-1]

    def resolve(self, dim: int | None, layers: int | None) -> tuple[int, int, list[str]]:
        """What to compute for a request (``None`` = full), and notes for the user.

        A size between the trained ones is allowed, with a note; one outside is an error.

        Raises:
            ConfigError: ``dim`` or ``layers`` is no whole number, or not between 1 (or the trained depth 0) and the full
                size.
        """
        notes: list[str] = []
        chosen = []
        for name, wanted, trained in (("dim", dim, self.dims), ("layers", layers, self.layers)):
            value = trained[-1] if wanted is None else whole_number(name, wanted)
            least = min(1, trained[0])
            if not least <= value <= trained[-1]:
                raise ConfigError(
                    f"{name}={value} is outside {least} … {trained[-1]}; trained: {list(trained)}"
                )
            if value not in trained:
                below = value < trained[0]
                quality = "expect it to be worse" if below else "its quality lies between those beside it"
                notes.append(f"{name}={value} was not trained (trained: {list(trained)}); {quality}")
            chosen.append(value)
        return chosen[0], chosen[1], notes


def nested_sizes(width: int, given: Sequence[int] = (), *, smallest: int = 8) -> tuple[int, ...]:
    """The prefix lengths to train: ``given``, or ``width`` halved for as long as ``smallest`` is not undercut.

    Halving gives 8, 16 … 2048 and 12, 24 … 768, the sizes of the Matryoshka paper.

    Raises:
        ConfigError: ``given`` is not ascending, or does not end at ``width``.
    """
    if not given:
        sizes = [width]
        while sizes[0] % 2 == 0 and sizes[0] // 2 >= smallest:
            sizes.insert(0, sizes[0] // 2)
        return tuple(sizes)
    check_nested("dims", given, width)
    return tuple(given)


def check_nested(name: str, sizes: Sequence[int], full: int) -> None:
    """Refuses sizes that are not ascending or do not end at the full one.

    Raises:
        ConfigError: names the option and the full size.
    """
    if list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != full:
        raise ConfigError(
            f"{name}={list(sizes)}: they must ascend and end at {full}, the full size of this encoder; "
            f"leave {name} out for the default"
        )


@dataclass(frozen=True)
class NestedSampler:
    """Which sizes a step trains, on any axis: dims, layers, ranks.

    A pure function of (seed, step, name), so it resumes by itself and every process draws the same.
    """

    seed: int

    def choose(self, sizes: Sequence[int], step: int, name: str, count: int = 1) -> tuple[int, ...]:
        """``count`` different members of ``sizes``, ascending, uniformly; all of them if there are no more.

        Draws under different names are independent.
        """
        import torch  # not above: an index knows its sizes and needs no torch

        from brickwork.core.seeding import generator_for

        order = torch.randperm(len(sizes), generator=generator_for(self.seed, step, name))
        return tuple(sorted(sizes[i] for i in order[:count].tolist()))

    def nested_dims(self, dims: Sequence[int], step: int, count: int | None) -> tuple[int, ...]:
        """The full width and ``count − 1`` of the smaller ones; None: all."""
        if count is None or count >= len(dims):
            return tuple(dims)
        return (*self.choose(dims[:-1], step, "dims", count - 1), dims[-1])

    def weighted(self, sizes: Sequence[int], weights: Sequence[float], step: int, name: str) -> int:
        """One member of ``sizes``, drawn with a probability that is proportional to its weight."""
        import torch

        from brickwork.core.seeding import generator_for

        chances = torch.tensor(weights, dtype=torch.float64)
        drawn = torch.multinomial(chances, 1, generator=generator_for(self.seed, step, name))
        return sizes[int(drawn)]


def geometric_weights(sizes: Sequence[int], p: float) -> tuple[float, ...]:
    """(1 − p)^(size − 1) for each size: small ones are drawn more often, the more so the larger ``p``."""
    return tuple((1 - p) ** (size - 1) for size in sizes)


def bytes_per_vector(dim: int, bytes_per_number: int = 4) -> int:
    """What a stored vector weighs."""
    return dim * bytes_per_number


def scan_flops(num_vectors: int, dim: int) -> int:
    """Floating-point operations to compare one query with every vector (multiply and add counted apart)."""
    return 2 * num_vectors * dim
