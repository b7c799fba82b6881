"""From a file to texts: encodings, separators, and numbers as people write them."""

from __future__ import annotations

import codecs
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cloudbandit.core.errors import TableError
from cloudbandit.tables.sniff import sniff

if TYPE_CHECKING:
    import pandas as pd

CSV = (".csv", ".csv.gz", ".csv.xz")
_NUMBER = re.compile(r"[-+]?(\d[\d., '\u00a0\u202f]*|[.,]\d+)(e[-+]?\d+)?", re.IGNORECASE)


def read(path: Path, separator: str = ",", encoding: str = "utf-8") -> pd.DataFrame:
    """A file's cells as texts, a category per text: what stands in many rows is kept once.

    Raises:
        TableError: it cannot be read.
    """
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path).astype(object).where(lambda x: x.notna(), "").astype(str)
        if path.name.endswith(CSV):
            return _read_csv(path, separator, encoding)
    except FileNotFoundError:
        raise TableError(
            f"the table's file {path} does not exist; cure: correct table.file in its table.toml"
        ) from None
    except ImportError as error:
        raise TableError(f"{path} is Parquet, which needs pyarrow. Cure: pip install 'cloudbandit[parquet]'") from error
    except pd.errors.EmptyDataError:
        raise TableError(f"{path} is empty; cure: a header line, and a line per run") from None
    except UnicodeError as error:
        raise TableError(f"{path} is not {encoding}: {error}. {_encoding_cure(path)}") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise TableError(f"{path} cannot be read: {error}. {_separator_cure(path, separator)}") from error
    except (ValueError, OSError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error
    raise TableError(f"{path.name}: a table's file ends in .csv, .csv.gz, .csv.xz or .parquet")


def _read_csv(path: Path, separator: str, encoding: str) -> pd.DataFrame:
    import pandas as pd

    try:
        known = codecs.lookup(encoding).name
    except LookupError:
        raise TableError(
            f"{path}: table.encoding is {encoding!r}, which Python does not know; cure: utf-8, utf-16, latin-1, cp1252, …"
        ) from None
    with warnings.catch_warnings():
        # a line longer than the header: else the first column would silently become an index, or the rest be dropped
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            path,
            dtype="category",
            keep_default_na=False,
            sep=separator,
            encoding="utf-8-sig" if known == "utf-8" else known,
            index_col=False,
        )


def _encoding_cure(path: Path) -> str:
    return f'Cure: encoding = "{sniff(path).encoding}" in [table]'


def _separator_cure(path: Path, separator: str) -> str:
    found = sniff(path).separator
    if found != separator:
        return f"Cure: separator = {found!r} in [table]"
    return (
        "Cure: a field that holds the separator stands in double quotes; where commas are decimal signs (0,50), another "
        'separator, and decimal = "," in [table]'
    )


def to_number(text: str, decimal: str = ".") -> float:
    """The number a text is.

    Raises:
        ValueError: it is none.
    """
    if decimal != ".":
        if "." in text:
            raise ValueError(text)
        text = text.replace(decimal, ".")
    return float(text)


def number_cure(text: str, decimal: str = ".") -> str:
    """What to do about a text that should be a number; empty: nothing is known."""
    if text.lower() in ("nan", "na", "n/a", "null", "none", "-", "?"):
        return "an empty field, where there is no value"
    found = _NUMBER.search(text)
    if not found:
        return ""
    number = found.group().strip()
    if number != text:
        return f'the number alone in the file ({number!r}); its unit is the manifest\'s, e.g. unit = "USD"'
    if "." in text and "," in text:
        return "no signs between thousands in the file"
    if decimal == "." and "," in text:
        return 'decimal = "," in [table], or no commas between thousands in the file'
    if decimal == "," and "." in text:
        return 'decimal = "." in [table], or no dots between thousands in the file'
    return ""
