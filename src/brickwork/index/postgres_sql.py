"""The SQL of an index in PostgreSQL: where it is, how filters read, how a plan becomes one statement.

Symbols: v a stored vector of full width, d the prefix of a stage. Vectors are stored as ``vector`` (float32), so
that scores are those of every other backend; the graphs over prefixes hold ``halfvec`` or ``bit``, because a graph
only proposes candidates and its size decides whether it stays in memory.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, LiteralString
from urllib.parse import parse_qsl, urlencode, urlsplit

from brickwork.core.errors import ConfigError, MissingExtraError
from brickwork.index.conditions import Condition
from brickwork.index.conditions import Kind as FieldKind
from brickwork.index.filters import OWN_FIELDS, Filter
from brickwork.index.types import Kind, Plan, Stage

try:
    from psycopg import Connection, sql
except ImportError as error:
    raise MissingExtraError("psycopg", "postgres", "an index in PostgreSQL") from error

DEFAULT_TABLE = "brickwork"
INDEXED: tuple[Kind, ...] = ("hnsw", "binary")
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")
# Texts, to be passed over, and numbers with an exponent.
_EXPONENT = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]+')
_ORDER: dict[str, LiteralString] = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}


@dataclass(frozen=True)
class Place:
    """A table on a server: ``url`` is for libpq and has no password, ``server`` is what messages show."""

    url: str
    table: str
    server: str


def parse_location(location: str) -> Place:
    """Reads ``postgresql://user@host:port/database?table=name``.

    Raises:
        ConfigError: another scheme, a table name that is not plain, or a password, which does not belong there.
    """
    try:
        parts = urlsplit(location)
        password, host, port = parts.password, parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"the location of the PostgreSQL index is not a URL ({error})") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if password or "password" in options:
        raise ConfigError(
            "the location of the index holds a password, and locations are written down: take it out, and put it "
            "into ~/.pgpass or the environment variable PGPASSWORD"
        )
    if parts.scheme not in ("postgresql", "postgres"):
        raise ConfigError(f"{location} is no PostgreSQL location; write postgresql://user@host/db?table=name")
    table = options.pop("table", DEFAULT_TABLE)
    if not _NAME.fullmatch(table):
        raise ConfigError(
            f"table={table!r}: a table name has at most 40 lower-case letters, digits and underscores"
        )
    # Not urlunsplit: it drops the // of a location without a host.
    url = f"postgresql://{parts.netloc}{parts.path}?{urlencode(options)}"
    name = host or options.get("host") or "the local socket"
    return Place(url, table, f"{name}{f':{port}' if port else ''}{parts.path}")


def distance(depth: int, dim: int, vector: str = "v") -> sql.Composed:
    """Minus the cosine on a prefix. Zeros stay zeros, as in :func:`~brickwork.representation.truncate.truncate`."""
    return sql.SQL("(l2_normalize(subvector({}, 1, {})) <#> {})").format(
        sql.Identifier(column(depth)), sql.Literal(dim), sql.Placeholder(f"{vector}{dim}")
    )


def indexed(kind: Kind, depth: int, dim: int) -> sql.Composed:
    """The expression that the graph of a kind holds; a search must order by exactly this one to use it."""
    prefix = sql.SQL("subvector({}, 1, {})").format(sql.Identifier(column(depth)), sql.Literal(dim))
    if kind == "binary":
        return sql.SQL("(binary_quantize({})::bit({}))").format(prefix, sql.Literal(dim))
    return sql.SQL("(l2_normalize({})::halfvec({}))").format(prefix, sql.Literal(dim))


def create_graph(table: str, kind: Kind, depth: int, dim: int) -> sql.Composed:
    """An HNSW graph over a prefix: inner product of ``halfvec`` for ``hnsw``, Hamming distance for ``binary``."""
    classes = sql.SQL("bit_hamming_ops" if kind == "binary" else "halfvec_ip_ops")
    return sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw ({} {})").format(
        sql.Identifier(graph_name(table, kind, depth, dim)),
        sql.Identifier(table),
        indexed(kind, depth, dim),
        classes,
    )


def graph_name(table: str, kind: Kind, depth: int, dim: int) -> str:
    """The name of a graph; table names are short enough for PostgreSQL's limit of 63."""
    return f"{table}_{kind}_{dim}_{depth}"


def column(depth: int) -> str:
    """The column of the vectors of one depth."""
    return f"vector_{depth}"


def search(table: str, plan: Plan, depth: int, where: sql.Composable, *, graph: bool) -> sql.Composed:
    """One statement for a plan: each stage orders the survivors of the one before, the last one gives documents.

    ``graph``: the first stage walks the graph of ``plan.kind``, else it compares with all that match. The
    parameters v8, v16 … are the query's prefixes at unit length. Columns: id, title, text, source, meta, distance.
    """
    (dim, keep), *later = plan.stages
    vectors = sql.Identifier(column(depth))
    first = distance(depth, dim)
    if graph and plan.kind == "binary":
        first = sql.SQL("({} <~> binary_quantize({}::vector))").format(
            indexed("binary", depth, dim), sql.Placeholder(f"v{dim}")
        )
    elif graph:
        first = sql.SQL("({} <#> {}::halfvec({}))").format(
            indexed("hnsw", depth, dim), sql.Placeholder(f"v{dim}"), sql.Literal(dim)
        )
    stage = sql.SQL("WITH s0 AS MATERIALIZED (SELECT id, {} FROM {} WHERE {} ORDER BY {} LIMIT {})").format(
        vectors, sql.Identifier(table), where, first, sql.Literal(keep)
    )
    for number, (size, kept) in enumerate(later, 1):
        stage += sql.SQL(", {} AS MATERIALIZED (SELECT id, {} FROM {} ORDER BY {} LIMIT {})").format(
            sql.Identifier(f"s{number}"),
            vectors,
            sql.Identifier(f"s{number - 1}"),
            distance(depth, size),
            sql.Literal(kept),
        )
    last = plan.stages[-1][0]
    return stage + sql.SQL(
        " SELECT d.id, d.title, d.text, d.source, d.meta, c.distance FROM"
        " (SELECT id, {} AS distance FROM {}) c JOIN {} d USING (id) ORDER BY c.distance"
    ).format(distance(depth, last), sql.Identifier(f"s{len(later)}"), sql.Identifier(table))


def where_clause(where: Filter | None) -> tuple[sql.Composable, dict[str, Any]]:
    """A filter of :func:`filters.resolve` as a condition and its parameters.

    Raises:
        ConfigError: a value that PostgreSQL cannot compare with (text with a NUL).
    """
    if where is None:
        return sql.SQL("true"), {}
    parts: list[sql.Composable] = []
    values: dict[str, Any] = {}
    for number, condition in enumerate(where.conditions):
        names = f"f{number}", f"w{number}"
        values[names[0]] = condition.field
        parts.append(_condition(condition, names, values))
    return sql.SQL(" AND ").join(parts), values


def _condition(condition: Condition, names: tuple[str, str], values: dict[str, Any]) -> sql.Composable:
    """jsonb compares with the type: 1 = 1.0, but 1 is neither '1' nor true. Order is compared per type.

    CASE, not AND: only CASE promises that a text is not read as a number before its type is known.
    """
    field = _field(condition.field, names[0])
    if condition.operator in ("eq", "in", "ne"):
        # JSON has neither infinity nor NaN, so no stored number can equal one.
        possible = [one for one in condition.values if not isinstance(one, float) or math.isfinite(one)]
        values[names[1]] = [_json(one, condition.field) for one in possible]
        test = sql.SQL("coalesce({} = ANY({}::text[]::jsonb[]), false)").format(
            field, sql.Placeholder(names[1])
        )
        return sql.SQL("NOT {}").format(test) if condition.operator == "ne" else test
    (one,) = condition.values
    if isinstance(one, float) and math.isnan(one):
        return sql.SQL("false")  # nothing is less or more
    kind: LiteralString
    if isinstance(one, bool):
        kind, typed, values[names[1]] = "boolean", sql.SQL("({})::boolean"), one
    elif isinstance(one, int | float):
        kind, typed, values[names[1]] = "number", sql.SQL("({})::numeric"), str(one)
    else:
        kind, typed = "string", sql.SQL('({}) COLLATE "C"')
        values[names[1]] = json.loads(_json(one, condition.field))
    cast = {"boolean": "::boolean", "number": "::numeric", "string": "::text"}[kind]
    return sql.SQL("CASE WHEN jsonb_typeof({}) = {} THEN {} {} {}{} ELSE false END").format(
        field,
        sql.Literal(kind),
        typed.format(sql.SQL("{} #>> '{{}}'").format(field)),
        sql.SQL(_ORDER[condition.operator]),
        sql.Placeholder(names[1]),
        sql.SQL(cast),
    )


_JSON_TYPE: dict[FieldKind, str] = {"text": "string", "number": "number", "truth": "boolean"}


class TableFields:
    """What the documents in a table hold, for :func:`filters.resolve`; each answer is a statement of its own."""

    def __init__(self, run: "Connection[Any]", table: str):
        self._run = run
        self._table = sql.Identifier(table)

    def has(self, field: str, kind: FieldKind) -> bool:
        """Whether any document has a value of this kind in a field."""
        test = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} WHERE jsonb_typeof(meta -> %s) = %s)")
        (there,) = self._run.execute(test.format(self._table), [field, _JSON_TYPE[kind]]).fetchone() or (
            False,
        )
        return bool(there)

    def texts(self, field: str) -> list[str]:
        """The distinct texts of a field."""
        statement = sql.SQL(
            "SELECT DISTINCT meta ->> %(field)s FROM {} WHERE jsonb_typeof(meta -> %(field)s) = 'string'"
        )
        rows = self._run.execute(statement.format(self._table), {"field": field}).fetchall()
        return [text for (text,) in rows]

    def some(self, field: str, kind: FieldKind, count: int) -> list[Any]:
        """Up to ``count`` values of this kind in a field."""
        if field in OWN_FIELDS:
            own = sql.SQL("SELECT {} FROM {} LIMIT %s").format(sql.Identifier(field), self._table)
            return [value for (value,) in self._run.execute(own, [count])]
        test = sql.SQL("SELECT meta -> %s FROM {} WHERE jsonb_typeof(meta -> %s) = %s LIMIT %s")
        values = [field, field, _JSON_TYPE[kind], count]
        return [value for (value,) in self._run.execute(test.format(self._table), values)]


def _field(name: str, parameter: str) -> sql.Composable:
    if name in OWN_FIELDS:
        return sql.SQL("to_jsonb({})").format(sql.Identifier(name))
    return sql.SQL("(meta -> {}::text)").format(sql.Placeholder(parameter))


def jsonb_text(text: str) -> str:
    """JSON whose floats come back from ``jsonb`` as floats. It keeps numbers as decimals, and writes 1e+23 as a whole
    number, which is another number than the float; with a digit behind the point it stays one."""
    return _EXPONENT.sub(lambda found: found[0] if found[0][0] == '"' else _written_out(found[0]), text)


def _written_out(number: str) -> str:
    digits = format(Decimal(number), "f")
    return digits if "." in digits else f"{digits}.0"


def _json(value: Any, field: str) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            value = "\0"
        if "\0" in value:
            raise ConfigError(
                f"filter on '{field}': PostgreSQL stores no text like {value!r}; choose another value"
            )
    return json.dumps(value, ensure_ascii=False)


def dims_of(stages: Sequence[Stage]) -> list[int]:
    """The prefixes that a plan compares on, each once."""
    return list(dict.fromkeys(dim for dim, _ in stages))
