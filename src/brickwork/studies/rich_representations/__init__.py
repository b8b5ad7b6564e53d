"""The study of rich representations."""
