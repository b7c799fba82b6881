"""What Compute Engine's errors are to us."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from cloudbandit.core.errors import need
from cloudbandit.providers.refusals import Kind, refusal

OF_OPERATION = {
    **dict.fromkeys(
        (
            "ZONE_RESOURCE_POOL_EXHAUSTED",
            "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS",
            "REGION_RESOURCE_POOL_EXHAUSTED",
            "RESOURCE_POOL_EXHAUSTED",
            "STOCKOUT",
        ),
        Kind.CAPACITY,
    ),
    **dict.fromkeys(("QUOTA_EXCEEDED", "QUOTA_EXCEEDED_WITH_DETAILS"), Kind.QUOTA),
    **dict.fromkeys(("UNSUPPORTED_OPERATION", "RESOURCE_NOT_FOUND"), Kind.NOT_SOLD),
    **dict.fromkeys(("INTERNAL_ERROR", "RATE_LIMIT_EXCEEDED", "TIMEOUT"), Kind.THROTTLED),
    **dict.fromkeys(("PERMISSIONS_ERROR", "PERMISSION_DENIED"), Kind.AUTH),
}
"""How an operation that was accepted ends; codes that are not here are unknown."""
_OF_STATUS = {
    400: Kind.INVALID,
    401: Kind.AUTH,
    403: Kind.AUTH,
    404: Kind.INVALID,
    409: Kind.INVALID,
    429: Kind.THROTTLED,
}
_OF_REASON = {
    "quotaExceeded": Kind.QUOTA,
    "rateLimitExceeded": Kind.THROTTLED,
    "userRateLimitExceeded": Kind.THROTTLED,
    "resourceNotReady": Kind.THROTTLED,
}


def kind_of(status: int, reasons: list[str]) -> Kind:
    """What an HTTP answer is: by its reason, else by its status."""
    for reason in reasons:
        if reason in _OF_REASON:
            return _OF_REASON[reason]
    return Kind.THROTTLED if status >= 500 else _OF_STATUS.get(status, Kind.UNKNOWN)


@contextlib.contextmanager
def errors(*allowed: int) -> Iterator[None]:
    """The SDK's exceptions as ours.

    Args:
        allowed: statuses that say what was wanted is so already.
    """
    need("google.cloud.compute_v1", "gcp", "the provider gcp")
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    try:
        yield
    except api.GoogleAPICallError as error:
        status = int(error.code or 0)
        if status in allowed:
            return
        reasons = [str(one.get("reason", "")) for one in error.errors if isinstance(one, dict)]
        text = str(error.message)
        kind = kind_of(status, reasons)
        if kind is Kind.INVALID and "machineType" in text:
            kind = Kind.NOT_SOLD
        raise refusal(kind, next(filter(None, reasons), str(status)), text) from error
    except auth.TransportError as error:
        raise refusal(Kind.THROTTLED, "transport", str(error)) from error
    except auth.GoogleAuthError as error:
        cure = "Cure: `gcloud auth application-default login`, or GOOGLE_APPLICATION_CREDENTIALS"
        raise refusal(Kind.AUTH, "no_credentials", f"{_told(error)}. {cure}") from error
    except (requests.RequestException, api.RetryError) as error:
        raise refusal(Kind.THROTTLED, type(error).__name__, str(error)) from error


def _told(error: Any) -> str:
    """The first line alone: further ones may hold what was sent."""
    return str(error.args[0] if error.args else error).splitlines()[0][:300]
