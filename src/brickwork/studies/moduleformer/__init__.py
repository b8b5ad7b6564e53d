"""The study of moduleformer."""
