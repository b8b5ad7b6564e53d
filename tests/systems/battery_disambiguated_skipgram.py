"""What the battery has to know of disambiguated-skipgram."""

UNTESTED = {
    "words": "which senses are drawn; tests/systems/test_disambiguated_skipgram.py",
    "data.also": "known sets on this machine; tests/systems/test_disambiguated_skipgram.py",
}
# Small batches and many epochs would take the time of a training each.
CANDIDATES = {
    "max_words": [67],
    "min_count": [45],
    "prune": [0.4],
    "subsample": [0.001],
    "batch": [300],
    "dim": [8],
    "epochs": [1],
    "negatives": [8],
    "pretraining": [0],
    "senses": [2],
    "window": [2],
    "data.pseudowords": [3],
}
