"""The providers of a study's file, by the names of their arms."""

from __future__ import annotations

from cloudbandit.core.errors import UsageError
from cloudbandit.core.protocols import Provider
from cloudbandit.live.sections import StudyFile
from cloudbandit.providers.registry import DEFAULT, PROVIDERS


def made_providers(file: StudyFile) -> dict[str, Provider]:
    """By the name of the arm.

    Raises:
        UsageError: both forms are there; an unknown provider, or a key that it does not take.
    """
    if file.provider is not None and file.providers:
        raise UsageError("the study has [provider] and [providers.…]; [provider] is the form for one")
    one = {} if file.provider is None else file.provider
    sections = file.providers or {str(one.get("name", DEFAULT)): one}
    made: dict[str, Provider] = {}
    for arm, section in sections.items():
        where = f"[providers.{arm}]" if file.providers else "[provider]"
        arguments = {key: value for key, value in section.items() if key != "name"}
        made[arm] = PROVIDERS.make(str(section.get("name", arm)), arguments, where)
    return made
