"""The study of matryoshka-2d."""
