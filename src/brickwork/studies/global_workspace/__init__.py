"""The study of global-workspace."""
