"""What the battery has to know of moduleformer."""

UNTESTED = {
    "growth.attention": "needs a finished run; tests/systems/test_moduleformer.py, as the other three",
    "growth.feed_forward": "with growth.attention",
    "growth.train": "with growth.attention",
    "growth.route_reg": "with growth.attention",
    "computation": "the same results by design; tests/unit/modules/test_experts.py",
}
CANDIDATES = {"data.also": [("toy",)]}
