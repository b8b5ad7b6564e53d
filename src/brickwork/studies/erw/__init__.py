"""The study of erw."""
