"""The pages that come with the server; the description of the API, written out as HTML without any script."""

from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "page"
# The page has its style in itself, and nothing else.
API_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_TEMPLATE = Path(__file__).parent / "api.html.j2"


def api_page(description: dict[str, Any]) -> str:
    """The OpenAPI description for people."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["fields"] = lambda schema: _fields(schema, description)
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(info=description["info"], operations=operations)


def _fields(schema: dict[str, Any], description: dict[str, Any]) -> list[dict[str, Any]]:
    """Name, type and meaning of each property of a schema."""
    schema = _resolve(schema, description)
    needed = schema.get("required", ())
    return [
        {
            "name": name,
            "type": _type(value, description),
            "needed": name in needed,
            "about": value.get("description", ""),
        }
        for name, value in schema.get("properties", {}).items()
    ]


def _resolve(schema: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return description["components"]["schemas"][name] if name else schema


def _type(schema: dict[str, Any], description: dict[str, Any]) -> str:
    """A type in words: ``string``, ``integer or null``, ``list of SearchHit``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type(each, description) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f'"{value}"' for value in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), description)}"
    return str(schema.get("type", "anything"))
