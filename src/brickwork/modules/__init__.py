"""From features to features: heads, policies."""
