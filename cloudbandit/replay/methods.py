"""What is compared: optimizers by name, classes, factories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloudbandit.core.errors import UsageError
from cloudbandit.core.protocols import Factory
from cloudbandit.optimizers.registry import all_names, history_of, make_factory


@dataclass(frozen=True, slots=True)
class Method:
    """One optimizer.

    Attributes:
        label: what people are shown.
        how: a name of the registry, or a factory (an optimizer's class is one).
        by_all: it was asked for by ``all`` alone, and may be left out where it cannot take part.
    """

    label: str
    how: str | Factory
    by_all: bool = False

    @classmethod
    def of(cls, how: str | Factory) -> Method:
        """Labelled by its own name.

        Raises:
            UsageError: it has none.
        """
        label = how if isinstance(how, str) else getattr(how, "__name__", "")
        if not label or label == "<lambda>":
            raise UsageError(f"the optimizer {how!r} has no name of its own; cure: a mapping, {{'a label': …}}")
        return cls(label, how)

    def factory(self, budget: int | None) -> Factory:
        """For a study of so many trials.

        Raises:
            UnknownNameError: nobody knows the name.
        """
        return make_factory(self.how, budget) if isinstance(self.how, str) else self.how

    @property
    def history(self) -> str:
        """What it must be told beforehand; see `cloudbandit.optimizers.registry.Entry`."""
        return history_of(self.how) if isinstance(self.how, str) else ""


Optimizers = str | Factory | Iterable[str | Factory | Method] | Mapping[str, str | Factory]
"""One or several; a mapping gives the labels, which otherwise are the names, or ``__name__``."""


def methods_of(optimizers: Optimizers) -> list[Method]:
    """In the order given, each label once; ``all`` stands for every built-in method.

    Raises:
        UsageError: two different optimizers of one label.
    """
    if isinstance(optimizers, Mapping):
        given = [Method(label, how) for label, how in optimizers.items()]
    elif isinstance(optimizers, str) or callable(optimizers):
        given = [Method.of(optimizers)]
    else:
        given = [how if isinstance(how, Method) else Method.of(how) for how in optimizers]
    named = {method.label for method in given}
    out: dict[str, Method] = {}
    for method in given:
        whole = method.how == "all"
        for m in [Method(n, n, n not in named) for n in all_names()] if whole else [method]:
            if out.setdefault(m.label, m).how != m.how:
                raise UsageError(f"two optimizers are called {m.label!r}; cure: a mapping, {{'a label': …}}")
    return list(out.values())
