"""Every function of the package checks its arguments and results while tests run: shapes by jaxtyping, types by beartype.

jaxtyping's own import hook wraps every function alike, and wraps a function inside a function again each time the outer one
runs, which took most of the time of many tests (4 s instead of 0.3 s for a thousand made-up scenes). Here only what has
arrays in its signature or body gets a scope for its dimensions; other functions of a module or class are checked by
beartype alone, as are async ones, whose turns would mix their scopes. Other functions inside functions are not checked.
"""

import ast
import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Union

import jaxtyping._import_hook as hook
from beartype import BeartypeConf, beartype
from beartype.door import is_bearable
from beartype.vale import Is
from jaxtyping import AbstractArray, TypeCheckError, jaxtyped

CHECK = "shape_checks.checked"
# One error for both, and a TypeError: values read from a damaged file are refused by catching that.
types_checked = beartype(conf=BeartypeConf(violation_type=TypeCheckError))


def has_arrays(annotation: Any) -> bool:
    """Whether arrays with shapes are part of an annotation."""
    if inspect.isclass(annotation) and issubclass(annotation, AbstractArray):
        return True
    return any(has_arrays(part) for part in typing.get_args(annotation))


def of_every_entry(annotation: Any) -> Any:
    """The annotation, asked of all arrays of a dict or list; beartype looks at one entry of each."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if not has_arrays(annotation) or not parts:
        return annotation
    if origin in (Union, types.UnionType):
        return Union[tuple(map(of_every_entry, parts))]  # noqa: UP007
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        value = of_every_entry(parts[1])
        return Annotated[annotation, Is[lambda entries: all(is_bearable(e, value) for e in entries.values())]]
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        if origin is tuple and parts[-1] is not ...:
            return tuple[tuple(map(of_every_entry, parts))]  # type: ignore[misc]
        value = of_every_entry(parts[0])
        return Annotated[annotation, Is[lambda entries: all(is_bearable(e, value) for e in entries)]]
    return annotation


def checked(
    function: Callable[..., Any], *, shapes: bool = False, nested: bool = False
) -> Callable[..., Any]:
    """The function with its checks. ``shapes``: its body speaks of arrays, whatever its signature says; ``nested``: it is
    inside a function, and checked only for its arrays."""
    annotations = getattr(function, "__annotations__", {})
    arrays = any(map(has_arrays, annotations.values()))
    if nested and not shapes and not arrays:
        return function
    if arrays:
        function.__annotations__ = {name: of_every_entry(a) for name, a in annotations.items()}
    # What is written as a string may be a name that only a type checker imports; jaxtyping knows how to leave that out.
    written = any(isinstance(a, str) for a in annotations.values())
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        return without_strings(types_checked, function) if written else types_checked(function)
    return (
        jaxtyped(function, typechecker=beartype) if shapes or arrays or written else types_checked(function)
    )


def without_strings(check: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its checks, but for those annotations that are strings."""
    annotations = function.__annotations__
    function.__annotations__ = {name: a for name, a in annotations.items() if not isinstance(a, str)}
    result = check(function)
    function.__annotations__ = result.__annotations__ = annotations
    return result


def checked_class(cls: type) -> type:
    """The class; a dataclass that has its ``__init__`` made for it checks the values of its fields."""
    made = (
        dataclasses.is_dataclass(cls)
        and getattr(cls.__init__, "__qualname__", "") == f"{cls.__qualname__}.__init__"
    )
    if made and "__init__" in vars(cls) and cls.__dataclass_params__.init:  # type: ignore[attr-defined]
        cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]
    return cls


def _speaks_of_arrays(node: ast.AST) -> bool:
    """Whether ``Float[Tensor, "batch dim"]`` or the like is written anywhere in a function."""
    return any(
        isinstance(part, ast.Subscript)
        and isinstance(part.slice, ast.Tuple)
        and len(part.slice.elts) == 2
        and isinstance(part.slice.elts[1], ast.Constant)
        and isinstance(part.slice.elts[1].value, str)
        and isinstance(part.value, ast.Name)
        for part in ast.walk(node)
    )


def _stands_first(statement: ast.stmt) -> bool:
    """Whether it is a module's docstring or an import from ``__future__``."""
    docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return docstring or (isinstance(statement, ast.ImportFrom) and statement.module == "__future__")


class Transformer(hook.JaxtypingTransformer):
    """Decorates functions as this module says, instead of all of them alike."""

    def _decorator(self, node: ast.AST, source: str) -> ast.expr:
        expression = ast.parse(source, mode="eval").body
        return ast.copy_location(expression, node)

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self._inside(node)
        place = next((i for i, child in enumerate(node.body) if not _stands_first(child)), len(node.body))
        node.body.insert(place, ast.Import(names=[ast.alias("shape_checks", "_shape_checks")]))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.decorator_list.insert(0, self._decorator(node, "_shape_checks.checked_class"))
        self._inside(node)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        nested = any(isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef) for parent in self._parents)
        how = f"shapes={_speaks_of_arrays(node)}, nested={nested}"
        node.decorator_list.append(
            self._decorator(node, f"lambda function: _shape_checks.checked(function, {how})")
        )
        self._inside(node)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def _inside(self, node: ast.AST) -> None:
        self._parents.append(node)
        self.generic_visit(node)
        self._parents.pop()


def checks(package: str) -> hook.ImportHookManager:
    """Checks the package's modules from now on, and as a context only in it; none may have been imported before."""
    assert package not in sys.modules, f"{package} has been imported already, without checks"
    hook.JaxtypingTransformer = Transformer
    return hook.install_import_hook(
        package, CHECK
    )  # CHECK also names the files in which compiled modules are kept
