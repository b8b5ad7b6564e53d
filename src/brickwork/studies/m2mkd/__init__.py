"""The study of m2mKD."""
