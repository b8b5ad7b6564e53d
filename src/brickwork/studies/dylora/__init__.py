"""The study of dylora."""
