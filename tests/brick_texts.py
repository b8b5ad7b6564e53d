"""Texts of three domains that a tiny language model tells apart, for tests of bricks."""

TEXTS = {
    "sums": [f"{a} + {b} = {a + b}; " * 3 for a in range(3, 33) for b in (2, 5)],
    "names": [f"the {c} of {d} has a {c}. " * 2 for c in ("king", "cat", "ship", "hat", "sun") for d in "abcdefghijkl"],
    "lists": [", ".join([w] * n) + " END " for w in ("[x]", "[yy]", "[z;]", "[qq]") for n in range(3, 18)],
}  # fmt: skip
