"""What the battery has to know of erw."""

_STAGES = "what a stage of a run does; tests/systems/test_erw.py"
UNTESTED = {
    "average": "weights that draw, after the steps of a run; tests/systems/test_erw.py",
    "judge.num_heads": _STAGES,
    "judge.shrink": _STAGES,
    "views": _STAGES,
    "warm_from": _STAGES,
    "warm_to": _STAGES,
}
CANDIDATES = {"align": [0.25], "half_life": [2.0], "align_at": [1]}
