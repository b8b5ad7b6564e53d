"""The simplex classifier against its closed form and the authors' code, and the registry of its slots."""

import numpy as np
import pytest
import torch

from brickwork.core.errors import ConfigError
from brickwork.modules.simplex import SimplexHead, SlotRegistry, simplex


@pytest.mark.parametrize("slots", [2, 3, 10, 385])
def test_corners_are_a_regular_simplex(slots):
    """Closed form: unit vectors, every two with cosine −1/(K−1), and their mean is 0."""
    corners = simplex(slots)
    expected = torch.full((slots, slots), -1 / (slots - 1), dtype=torch.float64)
    expected.fill_diagonal_(1.0)
    assert corners.shape == (slots, slots - 1)
    torch.testing.assert_close(corners @ corners.T, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        corners.sum(0), torch.zeros(slots - 1, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_corners_are_those_of_the_authors():
    """Numbers printed by ``dsimplex(4)`` of miccunifi/iamcl2r (18495ac)."""
    theirs = [
        [0.9623, -0.1925, -0.1925],
        [-0.1925, 0.9623, -0.1925],
        [-0.1925, -0.1925, 0.9623],
        [-0.5774] * 3,
    ]
    np.testing.assert_allclose(simplex(4), theirs, atol=5e-5)


def test_one_slot_is_refused():
    with pytest.raises(ConfigError, match="slots=1"):
        simplex(1)


def test_head_has_nothing_to_train_and_nothing_to_save():
    head = SimplexHead(5, scale=3.0)
    assert not list(head.parameters())
    assert not head.state_dict()
    z = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head(z), 3.0 * z[:, :4] @ simplex(5).float().T)
    with pytest.raises(ConfigError, match="4 dimensions or more; these have 3"):
        head(z[:, :3])


def test_head_built_without_memory_has_its_corners():
    """Models are loaded by way of the meta device; the corners are in no file."""
    with torch.device("meta"):
        head = SimplexHead(6)
    torch.testing.assert_close(head.corners, simplex(6).float())


def test_gradient_goes_to_the_features():
    """Features that follow the gradient of the cross-entropy end at the corner of their class."""
    head, label = SimplexHead(4, scale=4.0), torch.tensor([2, 0])
    z = torch.zeros(2, 3, requires_grad=True)
    for _ in range(200):
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(head(z), label), z)
        z = (z - gradient).detach().requires_grad_()
    directions = torch.nn.functional.normalize(z.detach(), dim=1)
    torch.testing.assert_close(directions, head.corners[label], rtol=0, atol=1e-3)


# ---- which class has which corner ------------------------------------------------------------------------------


def test_classes_keep_their_slots():
    first = SlotRegistry(6, {}).assign(["cat", "dog"])
    assert first.taken == {"cat": 0, "dog": 1}
    assert first.assign(["dog", "cow", "cat"]).taken == {"cat": 0, "dog": 1, "cow": 2}
    assert first.assign(["eel", "fox"], "back").taken == {"cat": 0, "dog": 1, "eel": 5, "fox": 4}


def test_two_parties_can_be_joined_if_they_did_not_meet():
    front = SlotRegistry(6, {}).assign(["cat", "dog"])
    back = SlotRegistry(6, {}).assign(["eel"], "back")
    assert front.merged(back).taken == {"cat": 0, "dog": 1, "eel": 5}
    assert front.merged(front) == front
    with pytest.raises(ConfigError, match="'eel' has slot 0 in one model, where the other has 'cat'"):
        front.merged(SlotRegistry(6, {}).assign(["eel"]))
    with pytest.raises(ConfigError, match="'dog' has slot 0 in one model, where the other has slot 1"):
        front.merged(SlotRegistry(6, {"dog": 0}))
    with pytest.raises(ConfigError, match="6 slots and the other 7"):
        front.merged(SlotRegistry(7, {}))


def test_a_full_registry_names_the_class_and_the_way_out():
    full = SlotRegistry(2, {}).assign("ab")
    with pytest.raises(ConfigError, match=r"all 2 slots are taken and 'c' is a new class.*model\.slots"):
        full.assign("c")


def test_registry_survives_json_and_notices_changes():
    registry = SlotRegistry(6, {}).assign(["cat", "dog"])
    values = registry.to_dict()
    assert SlotRegistry.from_dict(values) == registry
    with pytest.raises(ConfigError, match="was changed after it was written"):
        SlotRegistry.from_dict({**values, "taken": {"cat": 1, "dog": 0}})
    with pytest.raises(ConfigError, match="damaged"):
        SlotRegistry.from_dict({"slots": 6})
