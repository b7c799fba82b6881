"""The providers of a study's file, by the names of their arms."""

from __future__ import annotations

from typing import Any

from cloudbandit.core.errors import UsageError
from cloudbandit.core.protocols import Provider
from cloudbandit.live.sections import StudyFile
from cloudbandit.providers.registry import DEFAULT, PROVIDERS


def named_providers(file: StudyFile) -> dict[str, tuple[str, dict[str, Any]]]:
    """The plug-in and its settings, by the name of the arm.

    Raises:
        UsageError: both forms are there.
    """
    if file.provider is not None and file.providers:
        raise UsageError("the study has [provider] and [providers.…]; [provider] is the form for one")
    one = {} if file.provider is None else file.provider
    sections = file.providers or {str(one.get("name", DEFAULT)): one}
    return {
        arm: (str(section.get("name", arm)), {key: value for key, value in section.items() if key != "name"})
        for arm, section in sections.items()
    }


def made_providers(file: StudyFile) -> dict[str, Provider]:
    """By the name of the arm.

    Raises:
        UsageError: both forms are there; an unknown provider, or a key that it does not take.
    """
    form = "[providers.{}]" if file.providers else "[provider]"
    return {arm: PROVIDERS.make(name, given, form.format(arm)) for arm, (name, given) in named_providers(file).items()}
