"""Plain JSON values to frozen dataclasses and back, driven by their annotations; no floats, times in UTC."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from sulku.errors import InvalidInputError

T = TypeVar("T")
_EXACT = frozenset({str, int, bool, NoneType})
Plain = Any  # None, bool, int, str, list and dict of these


def stamp(at: datetime) -> str:
    """Return ``at`` as ISO 8601 in UTC with milliseconds and ``Z``: ``2026-11-22T10:00:00.000Z``.

    Raises:
        InvalidInputError: ``at`` has no time zone.
    """
    if at.tzinfo is None:
        raise InvalidInputError("a time without a zone")
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unstamp(text: str) -> datetime:
    """Return the aware UTC time that ``stamp`` printed.

    Raises:
        InvalidInputError: It is not such a time.
    """
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise InvalidInputError(f"not a time: {str(text)[:40]!r}") from None
    if at.tzinfo is None:
        raise InvalidInputError(f"a time without a zone: {text[:40]!r}")
    return at.astimezone(UTC)


def plain(value: object) -> Plain:
    """Return ``value`` as plain JSON values; the inverse of ``typed``.

    Raises:
        InvalidInputError: It holds something that has no plain form (a float, bytes).
    """
    if type(value) in _EXACT:
        return value
    match value:
        case None | bool() | int():
            return value
        case StrEnum():
            return value.value
        case str():
            return value
        case datetime():
            return stamp(value)
        case tuple() | list():
            return [plain(item) for item in value]
        case frozenset() | set():
            return sorted(plain(item) for item in value)
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {name: plain(getattr(value, name)) for name in _names(type(value))}
        case _:
            raise InvalidInputError(f"no plain form for {type(value).__name__}")


def typed(kind: type[T], value: Plain, at: str = "") -> T:
    """Return ``value`` as a ``kind`` (a frozen dataclass, or a type that its fields use).

    Unknown keys are refused; missing ones take the field's default.

    Raises:
        InvalidInputError: The value does not fit; ``fields`` names where and why.
    """
    return _typed(kind, value, at)  # type: ignore[no-any-return]


@cache
def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {name: hints[name] for name in _names(kind)}


def _wrong(at: str, what: str) -> InvalidInputError:
    return InvalidInputError(f"{at or 'the value'} {what}", fields=[(at, what)])


@cache
def _shape(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(kind), get_args(kind)


def _typed(kind: Any, value: Plain, at: str) -> Any:
    if type(value) is kind and kind in _EXACT:  # most fields: nothing to look up, nothing to read
        return value
    origin, args = _shape(kind)
    if kind is Any or kind is object:
        return value
    if origin in {Union, UnionType}:
        if value is None and NoneType in args:
            return None
        return _typed(next(arm for arm in args if arm is not NoneType), value, at)
    if origin is tuple:
        return tuple(_typed(args[0], item, f"{at}[{n}]") for n, item in enumerate(_list(value, at)))
    if origin is frozenset:
        return frozenset(_typed(args[0], item, f"{at}[{n}]") for n, item in enumerate(_list(value, at)))
    if origin is dict or kind is dict:
        if not isinstance(value, dict):
            raise _wrong(at, "must be an object")
        return {key: _typed(args[1] if args else Any, item, f"{at}.{key}") for key, item in value.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        return _record(kind, value, at)
    return _scalar(kind, value, at)


def _list(value: Plain, at: str) -> list[Plain]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(at, "must be a list")
    return list(value)


def _scalar(kind: Any, value: Plain, at: str) -> Any:
    if kind is datetime:
        return value if isinstance(value, datetime) else unstamp(value)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        try:
            return kind(value)
        except ValueError:
            raise _wrong(at, f"must be one of {', '.join(kind)}") from None
    if kind in {str, int, bool} and type(value) is kind:
        return value
    raise _wrong(at, f"must be a {getattr(kind, '__name__', kind)}")


def _record(kind: type, value: Plain, at: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(at, "must be an object")
    hints, prefix = _hints(kind), f"{at}." if at else ""
    unknown = value.keys() - hints.keys()
    if unknown:
        raise _wrong(prefix + min(unknown), "is not a known field")
    given = {name: _typed(hints[name], item, prefix + name) for name, item in value.items()}
    try:
        return kind(**given)
    except TypeError as error:
        raise _wrong(at, f"is incomplete: {error}") from None
