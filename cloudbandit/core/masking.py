"""Passwords in texts: masked before a text is kept, shown or logged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_NAME = r"\w*(?:passw(?:or)?d|passphrase|api_?key)"
_IN_POSTGRES_URL = re.compile(r"(postgres\w*(?:\+\w+)?://[^\s:/@]*):(?!\*\*\*@)[^\n]*@", re.IGNORECASE)
"""Greedy: an @ or a space that should have been written %40 or %20 is of the password too."""
_IN_URL = re.compile(r"(\b[a-z][\w+.-]*://[^\s:/@]*):(?!\*\*\*@)[^\s@]*@", re.IGNORECASE)
_PARAMETER = re.compile(rf"\b({_NAME}\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&;,'\")\]]+)", re.IGNORECASE)
_KEY = re.compile(rf"{_NAME}\Z", re.IGNORECASE)
_HINTS = re.compile(r"://|passw|passphrase|api_?key", re.IGNORECASE)


def masked(text: str) -> str:
    """The text with ``***`` for the password of a URL, and for the value of a parameter named like one (``password=…``)."""
    if "://" in text:
        text = _IN_URL.sub(rf"\1:{MASK}@", _IN_POSTGRES_URL.sub(rf"\1:{MASK}@", text))
    return _PARAMETER.sub(rf"\1{MASK}", text) if _HINTS.search(text) else text


def masked_data(data: Any) -> Any:
    """JSON-like data with every text `masked`, and what stands under a key named like a password."""
    if isinstance(data, str):
        return masked(data)
    if isinstance(data, Mapping):
        return {
            masked(key) if isinstance(key, str) else key: MASK if _names_one(key) and value else masked_data(value)
            for key, value in data.items()
        }
    return [masked_data(item) for item in data] if isinstance(data, list | tuple) else data


def masked_json(data: Any) -> str:
    """`masked_data` on one line of JSON.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    text = json.dumps(data, allow_nan=False)
    return json.dumps(masked_data(data), allow_nan=False) if _HINTS.search(text) else text


def _names_one(key: object) -> bool:
    return isinstance(key, str) and _KEY.match(key) is not None
