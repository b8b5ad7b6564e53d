"""What the battery has to know of m2mkd."""

_OF_STAGES = "says which stages there are, or how long; tests/systems/test_m2mkd.py"
_OF_RUNS = "needs a finished run; tests/systems/test_m2mkd.py"
UNTESTED = {
    **dict.fromkeys(("teacher_share", "slots_share"), _OF_STAGES),
    **dict.fromkeys(("teacher", "slot", "parts", "renew"), _OF_RUNS),
    "backbone": "a pretrained model; tests/systems/test_m2mkd.py",
    "slots": "as many blocks as slots are needed, of two networks; tests/systems/test_m2mkd.py",
    "revision": "only a hub model has revisions",
    **{
        f"views.{name}": "drawn and applied as the others; tests/unit/data/test_augment.py"
        for name in ("hue", "saturation", "grey", "brightness", "contrast", "blur", "rotate", "flip")
    },
    **{
        f"mixing.{name}": "drawn and applied by data.augment.mixed; tests/unit/data/test_augment.py"
        for name in ("mixup", "cutmix")
    },
}
CANDIDATES = {
    "patch": [4],
    "student.depth": [3],
    "student.width": [16],
    "student.embedding_dim": [16],
    "student.experts": [2],
    "student.active": [1],
    "student.balance": [0.5],
    "teacher_width": [16],
    "teacher_depth": [3],
    "views.crop": [0.5],
    "mixing.smoothing": [0.3],
}
