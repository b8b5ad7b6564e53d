"""What the battery has to know of binary-paragraph-vector."""

UNTESTED = {"rate": "of the optimiser; tests/systems/test_binary_paragraph_vector.py"}
CANDIDATES = {"sizes": [(8, 32)], "bits": [64], "real": [12]}
