"""How good is it: retrieval, similarity, probes, significance, claims."""
