"""What the battery has to know of emoe."""

UNTESTED = {
    "data.domain": "a column of the user's file; tests/systems/test_emoe.py",
}
CANDIDATES = {"layers": [(0,), (0, 1, 2)], "used": [2], "groups": [16]}
