"""What the battery has to know of configurable-foundation-models."""

UNTESTED = {
    "revision": "only a hub model has revisions",
    "length": "needs kind=prompt; tests/systems/test_configurable_foundation_models.py",
    "neurons": "needs kind=expert; tests/systems/test_configurable_foundation_models.py",
    "base": "pretrained weights; tests/systems/test_configurable_foundation_models.py",
}
CANDIDATES = {"targets": ["up_proj"], "abstain": [0.3], "ranks": ["full"], "kind": ["prompt"]}
