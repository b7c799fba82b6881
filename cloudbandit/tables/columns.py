"""A table's columns as distinct texts and codes: a text that stands in many rows is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, np.dtype[np.float64]]
Codes = np.ndarray[Any, np.dtype[np.intp]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Column:
    """Row i holds ``texts[codes[i]]``; every text is in some row, and no text is there twice."""

    texts: list[str]
    codes: Codes

    @classmethod
    def of(cls, series: pd.Series[Any]) -> Column:
        """A field that is lacking is an empty text."""
        import pandas as pd

        series = series.astype(object).fillna("") if series.hasnans else series
        codes, texts = pd.factorize(series)
        return cls([str(text) for text in texts], codes.astype(np.intp))

    def row_of(self, code: int) -> int:
        """The first row with the text of that code."""
        return int(np.argmax(self.codes == code))

    def first(self, wanted: Sequence[bool] | Flags) -> int | None:
        """The first row whose text is one of those wanted (a flag per text); None: there is none."""
        rows = np.flatnonzero(np.asarray(wanted, dtype=bool)[self.codes])
        return int(rows[0]) if len(rows) else None


def numbers(column: Column, decimal: str = ".") -> tuple[Array, Flags]:
    """Per text its number (NaN where it is none, or empty), and whether it is empty."""
    import pandas as pd

    texts = pd.Series(column.texts, dtype=object).str.strip()
    empty = (texts == "").to_numpy(dtype=bool)
    if decimal != ".":
        texts = texts.where(~texts.str.contains(".", regex=False), "?").str.replace(decimal, ".", regex=False)
    return pd.to_numeric(texts, errors="coerce").to_numpy(dtype=float), empty


def grouped(codes: Sequence[Codes], count: int) -> tuple[Codes, Codes]:
    """Rows that agree in every code are one group.

    Returns:
        each row's group, ``(count,)``, and each group's first row; groups are numbered in the order of their first rows.
    """
    import pandas as pd

    key = np.zeros(count, dtype=np.int64)
    for code in codes:
        key = key * (int(code.max(initial=0)) + 1) + code
        key = pd.factorize(key)[0].astype(np.int64)  # small again, so that no product overflows
    if not codes:
        return key.astype(np.intp), np.zeros(min(count, 1), dtype=np.intp)
    return key.astype(np.intp), np.unique(key, return_index=True)[1].astype(np.intp)
