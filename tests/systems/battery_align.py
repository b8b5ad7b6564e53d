"""What the battery has to know of align."""

UNTESTED = {
    "text.projection": "the width of the images' vectors decides; refused, which tests/systems/test_align.py looks at",
}
