"""The study of stationary-compat."""
