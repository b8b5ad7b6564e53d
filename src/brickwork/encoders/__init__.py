"""From inputs to features."""
