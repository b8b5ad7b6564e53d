"""Linear maps with an activation after the pooling: the Dense modules of sentence-transformers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from brickwork.core.errors import ArtifactError
from brickwork.encoders.pooling import at_least_float32

# Activations without parameters, by the names of their classes in torch.
_ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.LeakyReLU, nn.ELU, nn.Mish)
}


@dataclass(frozen=True)
class DenseShape:
    """Sizes of a :class:`Dense`, and the name of its activation."""

    in_features: int
    out_features: int
    bias: bool
    activation: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str) -> "DenseShape":
        """What :meth:`to_dict` gave, or the ``config.json`` of sentence-transformers.

        Raises:
            ArtifactError: sizes are missing, or what it computes is not known here; names ``source``.
        """
        name = values.get("activation", values.get("activation_function", "torch.nn.modules.activation.Tanh"))
        activation = "Identity" if name is None else str(name).rpartition(".")[2]
        if activation not in _ACTIVATIONS:
            raise ArtifactError(
                f"{source} has the activation {name}, which cannot be loaded; known: {', '.join(_ACTIVATIONS)}"
            )
        for other in ("module_input_name", "module_output_name"):
            if values.get(other) not in (None, "sentence_embedding"):
                raise ArtifactError(
                    f"{source} has {other} '{values[other]}'; only a Dense of the sentence's vector can be loaded"
                )
        if values.get("use_residual"):
            raise ArtifactError(f"{source} has use_residual, which cannot be loaded")
        sizes = [values.get(name) for name in ("in_features", "out_features")]
        if not all(type(size) is int and size > 0 for size in sizes):
            raise ArtifactError(f"{source} lacks in_features or out_features; use a good copy")
        return cls(values["in_features"], values["out_features"], bool(values.get("bias", True)), activation)


class Dense(nn.Module):
    """``activation(x Wᵀ + b)`` of pooled vectors."""

    def __init__(self, shape: DenseShape):
        super().__init__()
        self.shape = shape
        self.linear = nn.Linear(shape.in_features, shape.out_features, bias=shape.bias)
        self.activation = _ACTIVATIONS[shape.activation]()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (B, in) → (B, out), in float32 or wider."""
        return at_least_float32(self.activation(self.linear(x.to(self.linear.weight.dtype))))
