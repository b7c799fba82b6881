"""The exceptions this library raises on purpose.

::

    CloudBanditError
    ├── UsageError (ValueError)          an argument is wrong; the message says what, got, allowed, cure
    │   ├── UnknownNameError             a table, metric, optimizer, workload … nobody knows
    │   ├── BudgetError                  a budget that cannot buy one schedule
    │   ├── NoBeliefError                a stop rule asks what an optimizer believes, and it does not say
    │   ├── NoOfferError                 no offer is left to choose from
    │   └── SpaceError                   a domain, space or config that contradicts itself
    ├── DataError (ValueError)           something read from disk is wrong
    │   ├── TableError                   a recorded table or its table.toml
    │   ├── PriceError                   a price catalogue
    │   └── DatasetError                 a registered data set is missing or has another sha256
    ├── StoreError                       the trial store
    │   ├── StoreBusyError               another process holds the study, or the database is locked
    │   ├── StoreFullError               no space is left where the store is
    │   ├── StudyTakenError              another process has taken the study over
    │   ├── StoreUnreachableError        the database server cannot be reached
    │   ├── StoreVersionError            written by another schema version
    │   ├── StoreCorruptError            not a store, or damaged
    │   └── StudyMismatchError           the stored study was about something else
    ├── NoCapacity                       a provider has none of an offer now; carries its code
    │   ├── OfferBarred                  nor will it after a rest: a quota, or not sold there
    │   └── HostLost                     a host went away under a trial
    │       └── HostInterrupted          its provider took it back
    ├── ProviderError                    a provider failed, in a way that no other offer cures
    │   ├── CredentialsError             it does not know us, or does not let us
    │   └── LeaseStuck                   a machine does not go; its money stays held
    ├── OptimizerError                   an optimizer broke a law (asked outside the space, …)
    └── MissingExtraError (ImportError)  an optional dependency is not installed; names the extra

A bug in an objective is none of these: it passes through `cloudbandit.Study.run` as it is.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class CloudBanditError(Exception):
    """Root of every exception raised on purpose."""


class UsageError(CloudBanditError, ValueError):
    """An argument is wrong."""


def hint(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class UnknownNameError(UsageError, LookupError):
    """A name that nothing answers to.

    Args:
        kind: what the name stands for, e.g. ``"optimizer"``.
        name: what was given.
        known: every name that would have been accepted.
        cure: one more hint, e.g. how to add a name.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], cure: str = "") -> None:
        names = sorted(known)
        close = difflib.get_close_matches(name, names, n=3)
        shown = ", ".join(names[:20]) + (f", … ({len(names)} in all)" if len(names) > 20 else "")
        text = f"unknown {kind} {name!r}; known: {shown or 'none'}."
        if close:
            text += f" Did you mean {' or '.join(map(repr, close))}?"
        super().__init__(f"{text} {cure}".rstrip())


class BudgetError(UsageError):
    """A budget that cannot buy what was asked."""


class NoBeliefError(UsageError):
    """A stop rule asks what the optimizer believes, and it does not say."""


class NoOfferError(UsageError):
    """No offer is left to choose from: none given, all too small, or none measured."""


class SpaceError(UsageError):
    """A domain, space or config that contradicts itself."""


class DataError(CloudBanditError, ValueError):
    """Something read from disk is wrong."""


class TableError(DataError):
    """A recorded table or its ``table.toml`` is wrong."""


class PriceError(DataError):
    """A price catalogue is wrong."""


class DatasetError(DataError):
    """A registered data set is missing, cannot be fetched, or is not what was pinned."""


class StoreError(CloudBanditError):
    """The trial store cannot do what was asked."""


class StoreBusyError(StoreError):
    """Another process holds the study, or the database stayed locked."""


class StoreFullError(StoreError):
    """No space is left where the store is."""


class StudyTakenError(StoreError):
    """Another process runs the study now; this one must not write any more."""


class StoreUnreachableError(StoreError):
    """The database server dropped the connection, or cannot be reached."""


class StoreVersionError(StoreError):
    """The store was written by another schema version."""


class StoreCorruptError(StoreError):
    """The file is no store, or it is damaged."""


class StudyMismatchError(StoreError):
    """A study of this name is stored, and it was about something else."""


class NoCapacity(CloudBanditError):
    """A provider cannot launch an offer now: a trial on it becomes UNAVAILABLE.

    Args:
        code: the provider's own, stable (``InsufficientInstanceCapacity``); the trial's reason.
        text: for people.
        clean: nothing was made; else something may have been left behind, which a listing shows in time.
    """

    def __init__(self, code: str, text: str = "", *, clean: bool = True) -> None:
        super().__init__(f"{code}: {text}" if text else code)
        self.code, self.clean = code, clean

    def __reduce__(self) -> tuple[type[NoCapacity], tuple[str, str]]:
        return type(self), (self.code, str(self).removeprefix(self.code).removeprefix(": "))


class HostLost(NoCapacity):
    """A host is not there any more, and not because it was given back: a trial on it becomes UNAVAILABLE (``host_lost``)."""

    CODE = "host_lost"

    def __init__(self, text: str) -> None:
        super().__init__(self.CODE, text, clean=False)

    def __reduce__(self) -> tuple[type[HostLost], tuple[str]]:  # type: ignore[override]
        return type(self), (str(self).removeprefix(f"{self.code}: "),)


class OfferBarred(NoCapacity):
    """An offer that this account cannot have, whatever it waits: a quota of it is used up or 0, or it is not sold there."""


class HostInterrupted(HostLost):
    """The provider took a host back (spot): a trial on it becomes INTERRUPTED and keeps what was measured."""

    CODE = "host_interrupted"


class ProviderError(CloudBanditError):
    """A provider failed, or refused, in a way that choosing another offer does not cure.

    Args:
        code: the provider's own; empty where it gave none.
        text: for people.
        again: whether the same call may succeed in a moment (throttled, a broken connection, its own fault).
    """

    def __init__(self, code: str, text: str = "", *, again: bool = False) -> None:
        super().__init__(": ".join(part for part in (code, text) if part))
        self.code, self.text, self.again = code, text, again

    def __reduce__(self) -> tuple[type[ProviderError], tuple[str, str], dict[str, bool]]:
        return type(self), (self.code, self.text), {"again": self.again}


class CredentialsError(ProviderError):
    """There are no credentials, they are wrong, or they do not allow a call."""


class LeaseStuck(ProviderError):
    """Something that was told to go is still there, or nobody can tell: it may cost money until it is seen gone."""


class OptimizerError(CloudBanditError):
    """An optimizer broke a law, e.g. asked for a config outside its space."""


class MissingExtraError(CloudBanditError, ImportError):
    """An optional dependency is not installed."""


def need(module: str, extra: str, what: str) -> ModuleType:
    """Import an optional dependency, or raise `MissingExtraError` naming the cure."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{what} needs the package {module.split('.')[0]!r}, which is not installed ({error}). "
            f"Cure: pip install 'cloudbandit[{extra}]'"
        ) from error
