"""What the battery has to know of configurable-foundation-models."""

UNTESTED = {
    "revision": "only a hub model has revisions",
    "base": "pretrained weights; tests/systems/test_configurable_foundation_models.py",
    "find": "no brick is trained then; tests/systems/test_configurable_foundation_models_emergent.py",
}
CANDIDATES = {
    "targets": ["up_proj"],
    "abstain": [0.3],
    "ranks": ["full"],
    "kind": ["prompt"],
    "data.also": [("toy",)],
}
