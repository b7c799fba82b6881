"""Which optimizers say what they believe: a rule that stops by profit asks them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from cloudbandit.core.errors import NoBeliefError
from cloudbandit.optimizers.registry import BUILT_IN


def believers() -> list[str]:
    """Names of the built-in ones."""
    return [name for name, entry in BUILT_IN.items() if callable(getattr(entry.load(), "belief", None))]


@contextlib.contextmanager
def naming_believers() -> Iterator[None]:
    """Around the making of a study: its complaint that the optimizer believes nothing also says which ones do."""
    try:
        yield
    except NoBeliefError as error:
        known = ", ".join(believers()) or "none of the built-in ones"
        raise NoBeliefError(f"{error}: {known}") from None
