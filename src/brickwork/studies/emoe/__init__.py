"""The study of emoe."""
