"""What the battery has to know of dylora."""

UNTESTED = {
    "backbone": "pretrained weights; tests/systems/test_dylora.py",
    "task": "language is for causal language models; tests/systems/test_dylora_language.py",
    "revision": "only a hub model has revisions",
    "max_tokens": "only a backbone for texts has tokens; tests/systems/test_dylora.py",
}
CANDIDATES = {"targets": [r"network\.1"], "ranks": [(2, 8), (1, 4, 8)], "geometric_p": [0.9]}
