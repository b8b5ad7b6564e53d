"""Answer over HTTP: OpenAI-compatible embeddings and search, for models and indexes."""
