"""Configuration: exact round trips, and one message that tells every mistake."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brickwork.core.config import fingerprint, from_dict, override, to_dict, value_as
from brickwork.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Text:
    kind: Literal["text"] = "text"
    width: int = 8


@dataclass(frozen=True, kw_only=True)
class Image:
    kind: Literal["image"] = "image"
    size: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Run:
    steps: int
    rate: float = 0.1
    name: str | None = None
    dims: tuple[int, ...] = (4, 8)
    fast: bool = False
    mode: Literal["a", "b"] = "a"
    encoder: Text | Image = Text()

    def validate(self) -> list[str]:
        return [] if self.steps > 0 else [f"steps={self.steps} must be positive"]


@given(
    st.builds(
        Run,
        steps=st.integers(1, 10**9),
        rate=st.floats(allow_nan=False, allow_infinity=False),
        name=st.none() | st.text(),
        dims=st.lists(st.integers()).map(tuple),
        fast=st.booleans(),
        mode=st.sampled_from(["a", "b"]),
        encoder=st.builds(Text, width=st.integers()) | st.builds(Image, size=st.floats(0, 1)),
    )
)
def test_round_trip_is_exact(run):
    assert from_dict(Run, to_dict(run)) == run


def test_every_mistake_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        from_dict(Run, {"stps": 3, "rate": "high", "mode": "c", "encoder": {"kind": "txt"}})
    message = str(caught.value)
    for part in (
        "'stps': did you mean 'steps'?",
        "'steps' is required",
        "'rate' is 'high'",
        "'a', 'b'",
        "'encoder.kind' is 'txt'",
    ):
        assert part in message


def test_validation_messages_carry_the_path():
    with pytest.raises(ConfigError, match="steps=0 must be positive"):
        from_dict(Run, {"steps": 0})


@pytest.mark.parametrize(
    ("assignment", "field", "value"),
    [
        ("steps=7", "steps", 7),
        ("rate=1e-3", "rate", 1e-3),
        ("name=12", "name", "12"),
        ("name=none", "name", None),
        ("dims=1,2,3", "dims", (1, 2, 3)),
        ("dims=[5]", "dims", (5,)),
        ("fast=True", "fast", True),
        ("mode=b", "mode", "b"),
    ],
)
def test_override_reads_text_as_the_field_asks(assignment, field, value):
    assert getattr(override(Run(steps=1), [assignment]), field) == value


def test_override_reaches_nested_fields_and_leaves_the_rest():
    run = override(Run(steps=1, rate=0.5), ["encoder.width=32"])
    assert run == Run(steps=1, rate=0.5, encoder=Text(width=32))


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Run | None = None
    text: Text | None = None
    either: Text | Image | None = None


def test_a_part_that_is_left_out_begins_with_its_defaults():
    """As of `data.augmentation.rotate=90`: nobody has to write the whole part for one field of it."""
    assert override(Outer(), ["text.width=3"]) == Outer(text=Text(width=3))
    assert override(Outer(text=Text(width=5)), ["text.kind=text"]) == Outer(text=Text(width=5))
    with pytest.raises(ConfigError, match=r"unknown option 'text.widht': did you mean 'text.width'"):
        override(Outer(), ["text.widht=3"])
    for path in ("inner.rate", "either.width"):  # a field that has no default; either of two kinds
        with pytest.raises(ConfigError, match=f"unknown option '{path}'"):
            override(Outer(), [f"{path}=3"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("encoder.widht=3", "did you mean 'encoder.width'"),
        ("steps", "write it as field=value"),
        ("steps=many", "'steps' is 'many'; expected int"),
        ("steps=1.5", "expected int"),
        ("fast=1", "expected bool"),
        ("steps=-1", "must be positive"),
        ("steps=Infinity", "'steps' is inf; expected a finite int"),
        ("steps=NaN", "'steps' is nan; expected a finite int"),
        ("dims=4,1e400", r"'dims\[1\]' is inf; expected a finite int"),
        ("rate=NaN", "'rate' is nan; expected a finite float"),
        ("rate=-Infinity", "'rate' is -inf; expected a finite float"),
        pytest.param("rate=1" + 400 * "0", "expected a finite float", id="400 digits"),
    ],
)
def test_override_refuses_with_the_remedy(assignment, message):
    with pytest.raises(ConfigError, match=message):
        override(Run(steps=1), [assignment])


def test_fingerprint_changes_with_any_field_and_only_then():
    base = Run(steps=1)
    changed = [
        override(base, [a])
        for a in ("steps=2", "rate=0.2", "name=x", "dims=4", "fast=true", "mode=b", "encoder.width=9")
    ]
    assert fingerprint(base) == fingerprint(Run(steps=1))
    assert len({fingerprint(run) for run in [base, *changed]}) == 8


def test_a_field_of_any_type_keeps_the_type_that_it_holds():
    from typing import Any

    @dataclass(frozen=True, kw_only=True)
    class Holder:
        part: Any

    assert override(Holder(part=Text()), ["part.width=3"]) == Holder(part=Text(width=3))
    assert from_dict(Holder, {"part": {"width": 3}}, types={"part": Text}) == Holder(part=Text(width=3))
    with pytest.raises(ConfigError, match=r"unknown option 'part\.depth'"):
        from_dict(Holder, {"part": {"depth": 3}}, types={"part": Text})


def test_none_may_be_the_name_of_a_choice():
    from typing import Literal

    @dataclass(frozen=True)
    class Named:
        kind: Literal["some", "none"] = "some"
        other: Literal["some"] | None = "some"

    assert override(Named(), ["kind=none", "other=none"]) == Named(kind="none", other=None)


def test_a_value_as_a_hint_says():
    from typing import Literal

    hinted = [
        (int, 2.0, 2),
        (int | None, None, None),
        (float, np.float32(0.5), 0.5),
        (Literal["a", "b"], "b", "b"),
    ]
    for hint, value, wanted in hinted:
        given = value_as(hint, value, "x")
        assert given == wanted
        assert type(given) is type(wanted)
    mapping = {"a": 1}
    assert value_as(dict[str, int], mapping, "x") is mapping
    for hint, value in (
        (int, 1.5),
        (int, True),
        (int, "3"),
        (float, float("nan")),
        (Literal["a"], "c"),
        (str, 1),
    ):
        with pytest.raises(ConfigError, match="'x' is"):
            value_as(hint, value, "x")
