"""Typed configuration: frozen, keyword-only dataclasses, read from JSON or ``a.b=c``, every error at once.

A configuration is data only. ``from_dict(cls, to_dict(config)) == config`` for every configuration; an
unknown key is an error that names the nearest known one. A field may hold another configuration, or one of several
(a union of dataclasses told apart by their ``kind``).
"""

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from brickwork.core.errors import ConfigError

T = TypeVar("T")


class _Typed(str):
    """A value typed on the command line: its text is read as the field's type asks."""


@dataclass(frozen=True)
class Bound:
    """What a number of a configuration has to be, as metadata of its type: ``Annotated[float, above(0)]``."""

    relation: Literal["at least", "above", "at most", "below"]
    limit: int | float

    def holds(self, value: int | float) -> bool:
        """Whether ``value`` is within the bound; NaN never is."""
        if self.relation == "at least":
            return value >= self.limit
        if self.relation == "above":
            return value > self.limit
        return value <= self.limit if self.relation == "at most" else value < self.limit


def at_least(limit: int | float) -> Bound:
    """value ≥ limit."""
    return Bound("at least", limit)


def above(limit: int | float) -> Bound:
    """value > limit."""
    return Bound("above", limit)


def at_most(limit: int | float) -> Bound:
    """value ≤ limit."""
    return Bound("at most", limit)


def below(limit: int | float) -> Bound:
    """value < limit."""
    return Bound("below", limit)


def idle(config: Any, names: Iterable[str], cause: str) -> list[str]:
    """One message for each of ``names`` that was set (is not ``None``) although it means nothing with ``cause``."""
    return [
        f"{name} has no effect with {cause}; leave it out"
        for name in names
        if getattr(config, name) is not None
    ]


def to_dict(config: Any) -> dict[str, Any]:
    """The configuration as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config), allow_nan=False))


def fingerprint(config: Any) -> str:
    """Twelve hexadecimal digits that change when any field changes."""
    return hashlib.sha256(json.dumps(to_dict(config), sort_keys=True).encode()).hexdigest()[:12]


def differences(then: Any, now: Any, where: str = "") -> dict[str, str]:
    """``x was 1 and is 2`` for each place in which two sets of plain values differ, by its name, as ``model.x``."""
    if not (isinstance(then, Mapping) and isinstance(now, Mapping)):
        return {} if then == now else {where: f"{where} was {then} and is {now}"}
    prefix = f"{where}." if where else ""
    return {
        place: change
        for name in dict.fromkeys([*now, *then])
        for place, change in differences(then.get(name), now.get(name), prefix + name).items()
    }


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` for the known name closest to ``name``, else the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def nearest_column(name: str, columns: Iterable[str]) -> str:
    """:func:`nearest` of a column of a table, and the table's columns in their order, which are said once."""
    columns = list(columns)
    close = nearest(name, columns)
    listed = f"its columns are: {', '.join(columns) or 'none'}"
    return f"{close} I{listed[1:]}" if close.startswith("did you mean") else listed


def from_dict(
    cls: type[T], values: Mapping[str, Any], *, where: str = "", types: Mapping[str, type] | None = None
) -> T:
    """Builds ``cls`` from plain values. ``types`` says what a field declared ``Any`` holds this time.

    Raises:
        ConfigError: with every unknown key, missing field, wrong type and failed check, not only the first.
    """
    errors: list[str] = []
    config = _build(cls, values, where, errors, types or {})
    if errors:
        raise ConfigError("\n".join(errors))
    return typing.cast(T, config)


def value_as(hint: Any, value: Any, name: str) -> Any:
    """A value as the kind that ``hint`` says: a number, a word of a ``Literal``, a text, or one of several. Of hints
    that are none of these it stays as it is.

    Raises:
        ConfigError: it is of another kind.
    """
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    plain = (bool, int, float, str, type(None))
    if not all(member in plain or get_origin(member) is Literal for member in members):
        return value
    errors: list[str] = []
    if getattr(value, "ndim", None) == 0:  # a number of NumPy
        value = value.item()
    result = _coerce(hint, value, name, errors)
    if errors:
        raise ConfigError(errors[0])
    return result


def override(config: T, assignments: Iterable[str]) -> T:
    """A copy of ``config`` with ``"a.b=value"`` assignments applied, checked like :func:`from_dict`. A part that is left out
    (``None``) begins with its defaults where a field of it is set."""
    values = to_dict(config)
    errors = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            errors.append(f"'{assignment}': write it as field=value, for example train.steps=200")
            continue
        *parents, last = path.strip().split(".")
        _begin_parts(config, values, parents)
        place: Any = values
        for parent in parents:
            place = _member(place, parent)
        if not isinstance(place, dict) or last not in place:
            errors.append(f"unknown option '{path}': {nearest(path, _paths(values))}")
            continue
        place[last] = _Typed(text)
    if errors:
        raise ConfigError("\n".join(errors))
    held = {name: type(value) for name, value in vars(config).items() if dataclasses.is_dataclass(value)}
    return from_dict(type(config), values, types=held)


def _begin_parts(config: Any, values: dict[str, Any], path: Sequence[str]) -> None:
    """Puts the defaults of each part on the ``path`` into ``values`` that ``config`` leaves out."""
    holder, place = config, values
    for name in path:
        if not dataclasses.is_dataclass(holder) or name not in place:
            return
        kinds = get_args(typing.get_type_hints(type(holder))[name])
        parts = [kind for kind in kinds if dataclasses.is_dataclass(kind) and not _required(kind)]
        holder = getattr(holder, name)
        if holder is None:
            if len(parts) != 1 or type(None) not in kinds:
                return
            holder = parts[0]()  # type: ignore[operator]
            if place[name] is None:
                place[name] = to_dict(holder)
        place = place[name]


def _required(kind: Any) -> list[str]:
    """The fields without a default."""
    missing = dataclasses.MISSING
    return [f.name for f in dataclasses.fields(kind) if f.default is missing and f.default_factory is missing]


def _member(place: Any, name: str) -> Any:
    """The part of plain values with this name; of a list, the member that is called so or has that number."""
    if isinstance(place, list):
        named = {str(number): item for number, item in enumerate(place)}
        place = named | {item["name"]: item for item in place if isinstance(item, dict) and "name" in item}
    return place.get(name) if isinstance(place, dict) else None


def _paths(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    paths = []
    for key, value in values.items():
        paths.append(prefix + key)
        if isinstance(value, list):
            value = {item["name"]: item for item in value if isinstance(item, dict) and "name" in item}
        if isinstance(value, dict):
            paths.extend(_paths(value, f"{prefix}{key}."))
    return paths


def _build(
    cls: type, values: Any, where: str, errors: list[str], types: Mapping[str, type] | None = None
) -> Any:
    if not isinstance(values, Mapping):
        errors.append(f"{where or cls.__name__}: expected fields of {cls.__name__}, got {values!r}")
        return None
    before = len(errors)
    prefix = f"{where}." if where else ""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    hints.update({name: held_type for name, held_type in (types or {}).items() if hints.get(name) is Any})
    for key in values:
        if key not in fields:
            errors.append(f"unknown option '{prefix}{key}': {nearest(key, fields)}")
    arguments, required = {}, _required(cls)
    for name in fields:
        if name in values:
            arguments[name] = _coerce(hints[name], values[name], prefix + name, errors)
        elif name in required:
            errors.append(f"option '{prefix}{name}' is required and missing")
    if len(errors) > before:
        return None
    config = cls(**arguments)
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        errors.extend(_out_of_bounds(hint, arguments.get(name), prefix + name))
    if hasattr(config, "validate"):
        errors.extend(f"{prefix}{problem}" for problem in config.validate())
    return config


def _out_of_bounds(hint: Any, value: Any, where: str) -> list[str]:
    """A message for each bound in ``hint`` that ``value``, or one of its entries, does not keep."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        is_number = isinstance(value, int | float)
        errors = [
            f"{where} is {value}; it must be {bound.relation} {bound.limit:g}"
            for bound in hint.__metadata__
            if isinstance(bound, Bound) and is_number and not bound.holds(value)
        ]
        return errors + _out_of_bounds(arguments[0], value, where)
    if origin in (Union, types.UnionType):
        return [message for member in arguments for message in _out_of_bounds(member, value, where)]
    if origin is tuple and isinstance(value, Sequence):
        return [
            message
            for place, item in enumerate(value)
            for message in _out_of_bounds(arguments[0], item, f"{where}[{place}]")
        ]
    return []


def _coerce(hint: Any, value: Any, where: str, errors: list[str]) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where, errors)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _coerce_union(arguments, value, where, errors)
    if isinstance(value, _Typed) and hint is not str:
        value = _read_typed(hint, value)
    if hint is Any:
        return value
    if origin is Literal:
        if value in arguments:
            return value
        errors.append(f"option '{where}' is {value!r}; choose one of {', '.join(map(repr, arguments))}")
        return None
    if origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_coerce(arguments[0], item, f"{where}[{i}]", errors) for i, item in enumerate(value))
    elif origin is dict:
        if isinstance(value, Mapping):
            return {k: _coerce(arguments[1], v, f"{where}.{k}", errors) for k, v in value.items()}
    elif hint is bool or hint is type(None):
        if isinstance(value, hint):
            return value
    elif hint is int:
        if _is_number(value) and value == int(value):
            return int(value)
    elif hint is float:
        if _is_number(value):
            return float(value)
    elif hint is str and isinstance(value, str):
        return str(value)
    wanted = hint.__name__ if isinstance(hint, type) and origin is None else str(hint)
    if hint in (int, float) and type(value) in (int, float) and not _is_number(value):
        wanted = f"a finite {wanted}"
    errors.append(f"option '{where}' is {value!r}; expected {wanted}")
    return None


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a number that a float can hold: not NaN, an infinity or an integer of 400 digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _coerce_union(members: tuple[Any, ...], value: Any, where: str, errors: list[str]) -> Any:
    """The first member that takes the value; dataclass members are told apart by ``kind``, unless there is only one."""
    if isinstance(value, Mapping):
        configs = [m for m in members if dataclasses.is_dataclass(m)]
        if len(configs) == 1:
            return _coerce(configs[0], value, where, errors)
        kinds = {m.__dataclass_fields__["kind"].default: m for m in members if dataclasses.is_dataclass(m)}
        if kinds and value.get("kind") not in kinds:
            given = f"is {value.get('kind')!r}; " if "kind" in value else "is missing; "
            errors.append(f"option '{where}.kind' {given}choose one of {', '.join(map(repr, kinds))}")
            return None
        if kinds:
            return _coerce(kinds[value["kind"]], value, where, errors)
    problems: list[str] = []
    # str takes any typed text, so it is asked last.
    for member in sorted(members, key=lambda m: m is str):
        attempt: list[str] = []
        result = _coerce(member, value, where, attempt)
        if not attempt:
            return result
        problems = problems or attempt
    errors.extend(problems)
    return None


def _read_typed(hint: Any, text: str) -> Any:
    """Text from the command line as JSON; ``8,16`` for a tuple; ``none`` and ``true`` in any case."""
    if get_origin(hint) is tuple and not text.startswith("["):
        return [_Typed(part.strip()) for part in text.split(",") if part.strip()]
    if get_origin(hint) is Literal and text in get_args(hint):
        return text  # also where it is called none
    if text.lower() in ("none", "null", "true", "false"):
        return {"none": None, "null": None, "true": True, "false": False}[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return str(text)
