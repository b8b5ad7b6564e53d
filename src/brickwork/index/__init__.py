"""Find documents: an embedded index with elastic search."""
