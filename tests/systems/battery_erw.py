"""What the battery has to know of erw."""

_STAGES = "what a stage of a run does; tests/systems/test_erw.py"
UNTESTED = {
    "warm_from": _STAGES,
    "warm_to": _STAGES,
    "average": "weights that draw, after the steps of a run; tests/systems/test_erw.py",
    **{
        f"views.{name}": _STAGES
        for name in (
            *("crop", "flip", "rotate", "hue", "brightness", "contrast", "saturation", "grey", "blur"),
        )
    },
}
CANDIDATES = {"align": [0.25], "teacher": ["labels"], "half_life": [2.0], "align_at": [1]}
