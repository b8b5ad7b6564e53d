"""Known public sets: where they are, and how each is read."""
