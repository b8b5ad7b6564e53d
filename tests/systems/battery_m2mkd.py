"""What the battery has to know of m2mkd."""

from brickwork.systems.m2mkd.config import Circuits, Config

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
        for name in ("hue", "saturation", "grey", "brightness", "contrast", "blur", "rotate")
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
    "student.num_heads": [1],
    "student.inputs": [2],
    "student.mediators": [5],
    "student.outputs": [1],
    "student.signature_dim": [3],
    "student.stem_blocks": [2],
    "student.place_dim": [2],
    "student.drop": [0.5],
    "student.repulsion": [5.0],
    "mixing.mixup": [0.5],
    "mixing.cutmix": [1.0],
    "mixing.smoothing": [0.3],
}


def starts(case, made):
    """A circuit, from end to end: its slots have no options of their own."""
    student = Circuits(width=8, num_heads=2, inputs=3, mediators=4, outputs=2, signature_dim=4, place_dim=4)
    yield Config(student=student, learn="end_to_end", patch=4), case.data
