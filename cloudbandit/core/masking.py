"""Passwords in texts: masked before a text is kept, shown or logged."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
_NAME = r"\w*(?:passw(?:or)?d|passphrase|api_?key|secret_access_key|client_secret|(?:hf|access|session|refresh)_token)"
_IN_POSTGRES_URL = re.compile(r"(postgres\w*(?:\+\w+)?://[^\s:/@]*):(?!\*\*\*@)[^\n]*@", re.IGNORECASE)
"""Greedy: an @ or a space that should have been written %40 or %20 is of the password too."""
_IN_URL = re.compile(r"(\b[a-z][\w+.-]*://[^\s:/@]*):(?!\*\*\*@)[^\s@]*@", re.IGNORECASE)
_PARAMETER = re.compile(rf"\b({_NAME}\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&;,'\")\]]+)", re.IGNORECASE)
_KEY = re.compile(rf"{_NAME}\Z", re.IGNORECASE)
_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{8,}|ya29\.[\w-]{8,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
"""What shows by its form that it is a secret: tokens of a hub and of clouds, private keys."""
_HINTS = re.compile(r"://|passw|passphrase|api_?key|secret|_token|hf_|ya29\.|eyJ|PRIVATE KEY", re.IGNORECASE)
_OF_ENVIRONMENT = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_CLIENT_SECRET")
_SHORTEST = 8


def masked(text: str) -> str:
    """The text with ``***`` for the password of a URL, for the value of a parameter named like one (``password=…``), for what
    looks like a token or a private key, and for the secrets of this process's environment wherever they stand."""
    for name in _OF_ENVIRONMENT:
        secret = os.environ.get(name, "")
        if len(secret) >= _SHORTEST and secret in text:
            text = text.replace(secret, MASK)
    if not _HINTS.search(text):
        return text
    if "://" in text:
        text = _IN_URL.sub(rf"\1:{MASK}@", _IN_POSTGRES_URL.sub(rf"\1:{MASK}@", text))
    return _TOKEN.sub(MASK, _PARAMETER.sub(rf"\1{MASK}", text))


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
    secret = any(len(os.environ.get(name, "")) >= _SHORTEST for name in _OF_ENVIRONMENT)
    return json.dumps(masked_data(data), allow_nan=False) if secret or _HINTS.search(text) else text


def _names_one(key: object) -> bool:
    return isinstance(key, str) and _KEY.match(key) is not None
