"""Files of ours as typed structs (msgspec). What is wrong in one is told by its file, its key, what it holds and what it may
hold."""

from __future__ import annotations

import math
import tomllib
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta, structs

from cloudbandit.core.errors import CloudBanditError, hint
from cloudbandit.core.files import read_text

T = TypeVar("T", bound=msgspec.Struct)


class Section(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table of a file; keys without a default are required."""


Text = Annotated[str, Meta(min_length=1, description="a text")]
Texts = Annotated[list[Text], Meta(description="a list of texts")]
Count = Annotated[int, Meta(ge=1, description="a whole number ≥ 1")]
Count0 = Annotated[int, Meta(ge=0, description="a whole number ≥ 0")]
Amount = Annotated[float, Meta(gt=0, description="a number > 0")]
Amount0 = Annotated[float, Meta(ge=0, description="a number ≥ 0")]
Table = Annotated[dict[str, Any], Meta(description="a table")]

_PLAIN: Mapping[Any, str] = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


def parse(path: Path, missing: str, error: type[CloudBanditError]) -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        missing: what to say where there is no such file.

    Raises:
        CloudBanditError: of the type ``error``: there is no such file, it cannot be read, or it is no TOML.
    """
    text = read_text(path, missing, error)
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as wrong:  # TOMLDecodeError is a ValueError
        raise error(f"{path} is not TOML: {wrong}") from wrong


def convert(raw: Mapping[str, Any], file: type[T], source: object, error: type[CloudBanditError]) -> T:
    """A file's content as the struct that has a field per section.

    Args:
        source: names the file in messages.

    Raises:
        CloudBanditError: of the type ``error``: an unknown or missing section or key, or a value that may not be.
    """
    try:
        _finite("", raw)
        return msgspec.convert(raw, file)
    except _Wrong as wrong:
        raise error(f"{source}: {wrong}") from None
    except msgspec.ValidationError as wrong:
        raise error(f"{source}: {_why(file, raw, '') or wrong}") from None


class _Wrong(Exception):
    pass


def _finite(key: str, value: Any) -> None:
    """TOML knows inf and nan; nothing of ours does."""
    if isinstance(value, float) and not math.isfinite(value):
        raise _Wrong(f"{key} is {value!r}; allowed: a finite number")
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        _finite(key if isinstance(value, list) else f"{key}.{name}".lstrip("."), item)


def _why(section: type[msgspec.Struct], content: Mapping[str, Any], name: str) -> str:
    """The first fault of a section; of the whole file where it has no name."""
    fields = {f.encode_name: f for f in structs.fields(section)}
    for key in content:
        if key not in fields:
            known = ", ".join(fields if not name else sorted(fields))
            what = f"unknown key {key!r} in [{name}]" if name else f"unknown section [{key}]"
            return f"{what}{hint(key, fields)}; known: {known}"
    needed = [key if name else f"[{key}]" for key, f in fields.items() if f.required]
    for key, field in fields.items():
        if field.required and key not in content:
            listed = " and ".join([", ".join(needed[:-1]), needed[-1]] if len(needed) > 1 else needed)
            return f"{f'[{name}] lacks {key!r}' if name else f'the section [{key}] is missing'}; needed: {listed}"
    for key, value in content.items():
        found = _fault(fields[key].type, value, f"{name}.{key}".lstrip("."))
        if found:
            return found
    return ""


def _fault(kind: Any, value: Any, key: str) -> str:
    """What is wrong with one value; empty: nothing."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        pass
    else:
        return ""
    plain = _without_none(kind)
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return (
            _why(plain, value, key) if isinstance(value, Mapping) else f"{key} is {value!r}; allowed: a section [{key}]"
        )
    bare = get_args(plain)[0] if get_origin(plain) is Annotated else plain
    if get_origin(bare) is dict and isinstance(value, Mapping):
        for name, item in value.items():
            found = _fault(get_args(bare)[1], item, f"{key}.{name}")
            if found:
                return found
    return f"{key} is {value!r}; allowed: {allowed(plain)}"


def allowed(kind: Any) -> str:
    """What a value of this type may be, in words."""
    if get_origin(kind) is Annotated:
        said = [m.description for m in get_args(kind)[1:] if isinstance(m, Meta) and m.description]
        return said[-1] if said else allowed(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, types.UnionType):
        return ", or ".join(allowed(part) for part in get_args(kind) if part is not types.NoneType)
    if get_origin(kind) is list:
        return "a list"
    return _PLAIN.get(kind, "a table")


def _without_none(kind: Any) -> Any:
    """The type of an optional value."""
    if get_origin(kind) in (Union, types.UnionType):
        parts = [part for part in get_args(kind) if part is not types.NoneType]
        if len(parts) == 1:
            return parts[0]
    return kind
