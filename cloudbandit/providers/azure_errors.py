"""What Azure Resource Manager's errors are to us."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from cloudbandit.core.errors import need
from cloudbandit.providers.refusals import Kind, refusal

ERRORS = {
    **dict.fromkeys(
        (
            "SkuNotAvailable",
            "AllocationFailed",
            "ZonalAllocationFailed",
            "OverconstrainedAllocationRequest",
            "OverconstrainedZonalAllocationRequest",
            "SpotAllocationFailed",
        ),
        Kind.CAPACITY,
    ),
    **dict.fromkeys(("QuotaExceeded", "OperationNotAllowed", "ResourceQuotaExceeded"), Kind.QUOTA),
    **dict.fromkeys(("LocationNotAvailableForResourceType", "NotAvailableForSubscription"), Kind.NOT_SOLD),
    **dict.fromkeys(
        (
            "TooManyRequests",
            "SubscriptionRequestsThrottled",
            "OperationPreempted",
            "AnotherOperationInProgress",
            "ResourceGroupBeingDeleted",
            "RetryableError",
            "InternalServerError",
            "ServerTimeout",
        ),
        Kind.THROTTLED,
    ),
    **dict.fromkeys(
        (
            "AuthorizationFailed",
            "LinkedAuthorizationFailed",
            "InvalidAuthenticationToken",
            "ExpiredAuthenticationToken",
            "AuthenticationFailed",
            "SubscriptionNotFound",
            "SubscriptionNotRegistered",
        ),
        Kind.AUTH,
    ),
}
"""Codes of ARM and of Compute; others are told by their HTTP status, or unknown. Two of the first kind arrive as conflicts."""
_OF_STATUS = {400: Kind.INVALID, 401: Kind.AUTH, 403: Kind.AUTH, 404: Kind.INVALID, 429: Kind.THROTTLED}


def kind_of(code: str, status: int = 0, text: str = "") -> Kind:
    """What an error's code is; by the HTTP status where it has none that is known."""
    if code == "InvalidParameter" and "VM size" in text:
        return Kind.NOT_SOLD
    return ERRORS.get(code) or (Kind.THROTTLED if status >= 500 else _OF_STATUS.get(status, Kind.UNKNOWN))


@contextlib.contextmanager
def errors(*allowed: int) -> Iterator[None]:
    """The SDK's exceptions as ours.

    Args:
        allowed: statuses that say what was wanted is so already.
    """
    need("azure.mgmt.compute", "azure", "the provider azure")
    from azure.core import exceptions as core

    try:
        yield
    except core.HttpResponseError as error:
        if error.status_code in allowed:
            return
        told = getattr(error, "error", None)
        code, text = str(getattr(told, "code", "") or ""), str(getattr(told, "message", "") or error.reason or "")
        if isinstance(error, core.ClientAuthenticationError) and not code:
            raise refusal(Kind.AUTH, "no_credentials", f"{_first(error)}. {_CURE}") from error
        kind = kind_of(code, error.status_code or 0, text)
        raise refusal(kind, code or str(error.status_code), text, clean=False) from error  # the group may stand
    except core.AzureError as error:
        raise refusal(Kind.THROTTLED, type(error).__name__, _first(error)) from error


_CURE = "Cure: `az login`, or the variables of azure-identity's EnvironmentCredential"


def _first(error: Any) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
