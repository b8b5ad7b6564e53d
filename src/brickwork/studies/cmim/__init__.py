"""The study of cmim."""
