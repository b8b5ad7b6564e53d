"""The study of multimodn."""
