"""From tensors to a loss: pure functions."""
