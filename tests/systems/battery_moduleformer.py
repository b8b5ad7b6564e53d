"""What the battery has to know of moduleformer."""

UNTESTED = {
    "growth.start": "a finished run; tests/systems/test_moduleformer.py, as the other four",
    "growth.attention": "with growth.start",
    "growth.feed_forward": "with growth.start",
    "growth.train": "with growth.start",
    "growth.route_reg": "with growth.start",
    "computation": "the same results by design; tests/unit/modules/test_experts.py",
}
CANDIDATES = {"data.also": [("toy",)]}
