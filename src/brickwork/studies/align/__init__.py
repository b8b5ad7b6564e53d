"""The study of align."""
