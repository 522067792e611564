"""The classes of `figures` as JSON's types, and back."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


def plain(value: Any) -> Any:
    """Dataclasses, dicts, lists and tuples as dicts and lists; the rule of what is left out is that of `figures`."""
    if is_dataclass(value) and not isinstance(value, type):
        parts: dict[str, Any] = {}
        for field in fields(value):
            part = getattr(value, field.name)
            if "inline" in field.metadata:
                parts |= plain(part) or {}
            elif _stands(value, field):
                parts[_key(field)] = plain(part)
        return parts
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def _stands(value: Any, field: Field[Any]) -> bool:
    if field.default is MISSING or getattr(value, field.name) != field.default:
        return True
    neighbours = field.metadata.get("beside", ())
    return bool(neighbours) and all(getattr(value, name) is not None for name in neighbours)


def _key(field: Field[Any]) -> str:
    """A field whose name Python keeps for itself ends in an underscore."""
    return field.name.rstrip("_")


def from_plain(kind: type[Kind], keys: Mapping[str, Any]) -> Kind:
    """An object of the dataclass ``kind``. Keys that it does not know are skipped, since a later version may add some.
    Raises ValueError that names the place of what does not fit."""
    value: Kind = _typed(kind, keys, kind.__name__)
    return value


def _typed(kind: Any, value: Any, place: str) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(parts, value, place)
    if is_dataclass(kind):
        return _object(kind, _checked(value, dict, place), place)
    if origin in (dict, Mapping):
        values = _checked(value, dict, place)
        return {name: _typed(parts[1], part, f"{place}.{name}") for name, part in values.items()}
    if origin is list:
        return [_typed(parts[0], part, f"{place}[{i}]") for i, part in enumerate(_checked(value, list, place))]
    if origin is tuple:
        if len(_checked(value, list, place)) != len(parts):
            raise ValueError(f"{place} has {len(value)} values")
        return tuple(_typed(part_kind, part, place) for part_kind, part in zip(parts, value, strict=True))
    if isinstance(value, bool) != (kind is bool):
        raise ValueError(f"{place} is {value!r}")
    return _checked(value, (int, float) if kind is float else kind, place)


def _checked(value: Any, kind: Any, place: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{place} is {str(value)[:40]!r}")
    return value


def _one_of(kinds: tuple[Any, ...], value: Any, place: str) -> Any:
    """Of classes, the first whose required keys are there."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if len(kinds) > 1:
        keys = value if isinstance(value, dict) else {}
        kinds = tuple(kind for kind in kinds if all(name in keys for name in _required(kind)))
        if not kinds:
            raise ValueError(f"{place} has too few keys")
    return _typed(kinds[0], value, place)


def _required(kind: Any) -> list[str]:
    return [_key(field) for field in fields(kind) if field.default is MISSING and "inline" not in field.metadata]


def _object(kind: Any, value: dict[str, Any], place: str) -> Any:
    for name in _required(kind):
        if name not in value:
            raise ValueError(f"{place} lacks {name}")
    known: dict[str, Any] = {}
    for field in fields(kind):
        if "inline" in field.metadata:
            part_kind = field.metadata["inline"](value)
            known[field.name] = part_kind and _typed(part_kind, value, place)
        elif _key(field) in value:
            known[field.name] = _typed(_types(kind)[field.name], value[_key(field)], f"{place}.{_key(field)}")
    return kind(**known)


@cache
def _types(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
