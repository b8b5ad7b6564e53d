"""The MLP: which layers it has, and in which order."""

from brickwork.modules.mlp import mlp


def test_mlp_is_what_it_says():
    result = mlp([4, 3, 2], dropout=0.5, relu_at_end=True)
    assert [type(m).__name__ for m in result] == ["Dropout", "Linear", "ReLU", "Linear", "ReLU"]
    assert [type(m).__name__ for m in mlp([4, 2])] == ["Linear"]
