"""What the battery has to know of matryoshka-2d."""

CANDIDATES = {"compression_dim": [4], "max_texts": [40]}
