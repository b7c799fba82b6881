"""What a cloud's error is to us: a table per provider turns its codes into these kinds; nothing unknown is taken for capacity."""

from __future__ import annotations

from enum import StrEnum

from cloudbandit.core.errors import CloudBanditError, CredentialsError, NoCapacity, OfferBarred, ProviderError


class Kind(StrEnum):
    """Of a refusal."""

    CAPACITY = "capacity"
    """There is none now; another offer, or a rest, may cure it."""
    QUOTA = "quota"
    """The account may have no more; a rest does not cure it."""
    NOT_SOLD = "not sold"
    """Not in this region or zone; nor does a rest cure that."""
    THROTTLED = "throttled"
    """Too many calls, or a fault of the provider: the same call may succeed in a moment."""
    AUTH = "auth"
    """We are not known, or not allowed to."""
    INVALID = "invalid"
    """The call makes no sense to the provider: a bug of ours, or a setting that does not exist."""
    UNKNOWN = "unknown"
    """A code that nobody has looked up yet."""


def refusal(kind: Kind, code: str, text: str, *, clean: bool = True) -> CloudBanditError:
    """The exception for it.

    Args:
        clean: see `NoCapacity`.
    """
    match kind:
        case Kind.CAPACITY:
            return NoCapacity(code, text, clean=clean)
        case Kind.QUOTA | Kind.NOT_SOLD:
            return OfferBarred(code, text, clean=clean)
        case Kind.AUTH:
            return CredentialsError(code, text)
        case Kind.THROTTLED:
            return ProviderError(code, text, again=True)
        case _:
            return ProviderError(code, text)
