"""Plug-ins by name: one table of built-in ones, then entry points of installed packages."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from cloudbandit.core.errors import UnknownNameError, UsageError, hint


@dataclass(frozen=True)
class Names:
    """The names of one kind of plug-in.

    Args:
        kind: what a name stands for, e.g. ``"engine"``.
        group: the group of entry points that other packages declare theirs in.
        built_in: name → ``module:attribute``.
    """

    kind: str
    group: str
    built_in: Mapping[str, str]

    def known(self) -> list[str]:
        """Every name: the built-in ones, then those of installed packages."""
        return list(dict.fromkeys([*self.built_in, *(point.name for point in entry_points(group=self.group))]))

    def load(self, name: str) -> Callable[..., Any]:
        """What makes the plug-in of this name; a built-in name cannot be taken by another package.

        Raises:
            UnknownNameError: nobody knows the name.
        """
        target = self.built_in.get(name)
        if target is not None:
            module, _, attribute = target.partition(":")
            made: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
            return made
        for point in entry_points(group=self.group, name=name):
            loaded: Callable[..., Any] = point.load()
            return loaded
        cure = f"Or install a package with an entry point of the group {self.group}."
        raise UnknownNameError(self.kind, name, self.known(), cure)

    def make(self, name: str, arguments: Mapping[str, Any], where: str) -> Any:
        """The plug-in, made with keyword arguments that its signature takes.

        Args:
            where: names the place the arguments come from in messages, e.g. ``[providers.here]``.

        Raises:
            UnknownNameError: nobody knows the name.
            UsageError: an argument that it does not take, or one that it needs is missing.
        """
        factory = self.load(name)
        parameters = inspect.signature(factory).parameters
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        taken = {n: p for n, p in parameters.items() if p.kind in by_name}
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            for key in arguments:
                if key not in taken:
                    known = ", ".join(sorted(taken)) or "none"
                    raise UsageError(
                        f"unknown key {key!r} in {where}{hint(key, taken)}; the {self.kind} {name} takes: {known}"
                    )
        for key, parameter in taken.items():
            if parameter.default is parameter.empty and key not in arguments:
                raise UsageError(f"{where} lacks {key!r}, which the {self.kind} {name} needs")
        return factory(**arguments)
