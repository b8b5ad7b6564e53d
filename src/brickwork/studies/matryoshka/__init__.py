"""The study of matryoshka."""
