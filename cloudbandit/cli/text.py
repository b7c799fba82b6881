"""Text that somebody else wrote, as a terminal may show it: names in tables and stores, logs of engines, messages.

`plain` is for ``markup=False`` and for `rich.text.Text`; `shown` for cells and for texts with markup of ours. `SafeConsole`
lets no control character through, whoever forgot to call them.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from cloudbandit.core.masking import masked

_DELETE, _UNSEEN = 0x7F, "\ufffd"
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {_DELETE: "\u2421"}
_CONTROLS |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], _UNSEEN)  # C1; half a character
_CONTROLS |= dict.fromkeys([0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)], _UNSEEN)
"""Control characters as their pictures; what turns the direction of writing would make one text look like another."""


def plain(text: object) -> str:
    """Without control characters and passwords; line breaks stay."""
    said = masked(str(text))
    return said if said.isprintable() else said.replace("\r\n", "\n").translate(_CONTROLS)


def shown(text: object) -> str:
    """`plain`, and brackets are no markup."""
    return escape(plain(text))


class SafeConsole(Console):
    """A console whose text holds no control character; its own, for colours and progress, are not text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See `rich.console.Console.render`."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            if control or text.isprintable() or text == "\n":
                yield segment
            else:
                yield Segment(text.translate(_CONTROLS), style)


def styled(text: object, style: str) -> Text:
    """A cell of such text in one style."""
    return Text(plain(text), style)
