"""The options of a function, read off its signature once: what steps and judges are given is checked against them.

A manifest or a strategy names options as TOML has them, so the kinds are few: true or false, numbers, strings, and
lists of these. An annotation that says something else leaves its option's value to the function itself.
"""

import ast
import inspect
import math
import operator
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppm.errors import ManifestError, did_you_mean
from ppm.names import cut

__all__ = ["Option", "Schema", "schema_of"]

_PLAIN: dict[object, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a string"}
_MANY: dict[object, str] = {bool: "true or false", int: "whole numbers", float: "numbers", str: "strings"}
_SEQUENCES = (list, tuple, Sequence, Iterable)
_Parameter = inspect.Parameter


@dataclass(frozen=True)
class Option:
    """One option: its name, what values it takes in words (`kind`, empty where that is not known), and its default.

    `element` is bool, int, float or str, or None where the kind is not known; a `many` is a list of these. `nullable`
    lets a caller in Python give None, which TOML has not.
    """

    name: str
    element: type | None
    many: bool
    required: bool
    default: object = None
    nullable: bool = False

    @property
    def kind(self) -> str:
        """What values the option takes, in words."""
        if self.element is None:
            return "a list" if self.many else ""
        return f"a list of {_MANY[self.element]}" if self.many else _PLAIN[self.element]

    def takes(self, value: object) -> bool:
        """Whether a value is of the option's kind; a whole number is a number too, and true is none."""
        if value is None and self.nullable:
            return True
        if self.many:
            return isinstance(value, list | tuple) and all(self._is_one(element) for element in value)
        return self._is_one(value)

    def _is_one(self, value: object) -> bool:
        if self.element is None:
            return True
        if self.element is float:
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return isinstance(value, self.element) and (self.element is bool or not isinstance(value, bool))


@dataclass(frozen=True)
class Schema:
    """The options of one function; `open` when it takes any others as well (`**options`)."""

    options: Mapping[str, Option]
    open: bool = False

    def filled(self, given: Mapping[str, object]) -> dict[str, object]:
        """What is given, and the default of each option that is not, where the option's kind is known."""
        known = {name: o.default for name, o in self.options.items() if not o.required and o.element is not None}
        return known | dict(given)

    def check(self, given: Mapping[str, object], what: str, *, context: str, hint: str = "") -> None:
        """Raises ManifestError for an option there is not, of another kind, or left out.

        `what` has the options, as in "the step 'distil'"; `hint` is shown where a value is of another kind, or lacking.
        """
        for name, value in given.items():
            option = self.options.get(name)
            if option is None:
                if self.open:
                    continue
                known = did_you_mean(name, self.options, f"its options are {', '.join(self.options) or 'none'}")
                raise ManifestError(f"{what} has no option {cut(name)!r}", context=context, hint=known)
            if not option.takes(value):
                wrong = f"the option {name!r} of {what} must be {option.kind}, not {cut(repr(value))}"
                raise ManifestError(wrong, context=context, hint=hint)
        lacking = next((name for name, option in self.options.items() if option.required and name not in given), None)
        if lacking is not None:
            raise ManifestError(f"{what} needs the option {lacking!r}", context=context, hint=hint)


def schema_of(function: Callable[..., object], *, keyword_only: bool = False) -> Schema:
    """The options that can be given to a function by name; with `keyword_only`, those behind its `*` alone.

    Raises TypeError or ValueError for what has no signature, or has parameters that can't be given by name.
    """
    parameters = inspect.signature(function).parameters.values()
    by_name = {_Parameter.KEYWORD_ONLY} if keyword_only else {_Parameter.KEYWORD_ONLY, _Parameter.POSITIONAL_OR_KEYWORD}
    if not keyword_only:
        nameless = next((p.name for p in parameters if p.kind is _Parameter.POSITIONAL_ONLY), None)
        if nameless is not None:
            raise TypeError(f"its parameter {nameless!r} can't be given by name")
    names = _namespace(function)
    options = {p.name: _option(p, names) for p in parameters if p.kind in by_name}
    return Schema(options, any(p.kind is _Parameter.VAR_KEYWORD for p in parameters))


def _namespace(function: Callable[..., object]) -> dict[str, object]:
    """The names that annotations written as strings may use."""
    inner = inspect.unwrap(function)
    while hasattr(inner, "func"):  # functools.partial
        inner = inner.func
    called = inner if hasattr(inner, "__globals__") else getattr(inner, "__call__", inner)  # noqa: B004
    found = getattr(called, "__globals__", None)
    if found is None:
        found = vars(sys.modules.get(getattr(inner, "__module__", ""), types.ModuleType("none")))
    return {**vars(typing), "Sequence": Sequence, "Iterable": Iterable, **found}


def _option(parameter: inspect.Parameter, names: Mapping[str, object]) -> Option:
    required = parameter.default is _Parameter.empty
    default = None if required else parameter.default
    kind, nullable = _without_none(_evaluated(parameter.annotation, names))
    element, many = _kind_of(kind)
    if element is None and not many and not required:  # not annotated: as its default is
        many = isinstance(default, list | tuple)
        sample = default[0] if isinstance(default, list | tuple) and default else default
        element = type(sample) if type(sample) in _PLAIN else None
    return Option(parameter.name, element, many, required, default, nullable or (not required and default is None))


def _evaluated(annotation: object, names: Mapping[str, object]) -> object:
    """An annotation that is written as a string, as what it stands for; itself where that can't be told.

    Evaluated piece by piece from names and brackets alone: it runs no code of whoever wrote it.
    """
    if not isinstance(annotation, str):
        return annotation
    try:
        return _read(ast.parse(annotation.strip(), mode="eval").body, names)
    except (SyntaxError, LookupError, TypeError, ValueError, AttributeError):
        return annotation


def _read(node: ast.expr, names: Mapping[str, object]) -> Any:
    if isinstance(node, ast.Constant):
        return _evaluated(node.value, names) if isinstance(node.value, str) else node.value
    if isinstance(node, ast.Name):
        known = {kind.__name__: kind for kind in (bool, int, float, str, list, tuple)}
        return names[node.id] if node.id in names else known[node.id]
    if isinstance(node, ast.Attribute):
        return getattr(_read(node.value, names), node.attr)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return operator.or_(_read(node.left, names), _read(node.right, names))
    if isinstance(node, ast.Tuple):
        return tuple(_read(element, names) for element in node.elts)
    if isinstance(node, ast.Subscript):
        return _read(node.value, names)[_read(node.slice, names)]
    raise ValueError("not an annotation of names and brackets")


def _without_none(annotation: object) -> tuple[object, bool]:
    """(annotation without None, whether it had it)."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        arguments = typing.get_args(annotation)
        others = [argument for argument in arguments if argument is not type(None)]
        if set(others) == {int, float}:
            others = [float]
        return (others[0] if len(others) == 1 else annotation), len(others) < len(arguments)
    return annotation, False


def _kind_of(annotation: object) -> tuple[type | None, bool]:
    """(element, many) of an annotation without None."""
    if isinstance(annotation, type) and annotation in _PLAIN:
        return annotation, False
    origin = typing.get_origin(annotation)
    if annotation in _SEQUENCES or origin in _SEQUENCES:
        elements = [argument for argument in typing.get_args(annotation) if argument is not Ellipsis]
        first = elements[0] if elements and all(element == elements[0] for element in elements) else None
        return (first if isinstance(first, type) and first in _PLAIN else None), True
    if origin is typing.Literal:
        kinds = {type(argument) for argument in typing.get_args(annotation)}
        only = kinds.pop() if len(kinds) == 1 else None
        return (only if only in _PLAIN else None), False
    return None, False
