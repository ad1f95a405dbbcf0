"""Tables, `.csv` and `.parquet` files and data frames of pandas, as vectors with names."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.config.checks import listed, reason, refusing
from aejax.data.examples import require_memory
from aejax.data.parts import say_left_out


def read(path: Path) -> Any:
    """Read a `.csv` or `.parquet` file as a data frame.

    Raises:
        InputError: pandas or pyarrow is missing, the file may not fit in memory, or its columns have no names.
    """
    require_memory(2 * path.stat().st_size, f"{path}: to read it", "split it into a folder of train-... and test-...")
    try:
        import pandas

        if path.suffix == ".parquet":
            return pandas.read_parquet(path)
    except ImportError as error:
        raise InputError(f"{path} needs the packages pandas and pyarrow: pip install 'aejax[tables]'") from error
    with refusing(f"{path} is no table", say=_why), warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        # pandas would rename the second of two equal names, and would drop surplus fields with a warning.
        names = list(pandas.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna())
        _require_different(names, str(path))
        frame = pandas.read_csv(path, index_col=False)
    number = re.compile(r"-?\d+\.?\d*(e[-+]?\d+)?")
    if all(map(number.fullmatch, names)) and names != [str(at) for at in range(len(names))]:
        raise InputError(f"the first line of {path} holds numbers only; write the names of the columns there")
    if frame.columns[0] == "Unnamed: 0":  # the index, as pandas writes it by default
        say_left_out(path, ["the first column, which has no name"])
    return frame.drop(columns="Unnamed: 0", errors="ignore")


_FIELDS = "separate the fields by commas, and write numbers with a decimal point"
_WRONG = {
    "EmptyDataError": "it is empty; write the names of the columns in the first line, then a line for each example",
    "UnicodeDecodeError": "it is not UTF-8; save it as UTF-8 (a spreadsheet calls this CSV UTF-8)",
    "ParserError": f"its rows have different numbers of fields{{}}; {_FIELDS}",
    "ParserWarning": f"its rows have more fields than its first line has names; {_FIELDS}",
}
"""error of pandas → what is wrong, with the line, and what to do"""


def _why(error: BaseException) -> str:
    line = re.search(r" in line \d+", str(error))
    return _WRONG.get(type(error).__name__, reason(error)).format(line[0] if line else "")


def is_table(given: Any) -> bool:
    """Return whether something is a data frame of pandas."""
    return type(given).__module__.partition(".")[0] == "pandas" and getattr(given, "ndim", 0) == 2


def columns(
    frame: Any, where: str, label: str | None = None, like: Sequence[str] | None = None
) -> tuple[np.ndarray, Any, tuple[str, ...] | None]:
    """Return the values [N, D] of a data frame, missing values as NaN; its classes, or None; the names of its columns.

    Args:
        label: the column that holds classes.
        like: names of the columns of the training examples, into whose order the columns are brought.

    Raises:
        InputError: a column is missing or holds text, two columns have one name, or there is no row.
    """
    names, labels = [str(name) for name in frame.columns], None
    _require_different(names, where)
    if not len(frame):
        raise InputError(f"{where} are a table without rows")
    if label is not None:
        if label not in names:
            raise InputError(f"{where} have no column {label!r}, the data.label; the columns are {', '.join(names)}")
        labels, frame = frame.iloc[:, names.index(label)], frame.iloc[:, [name != label for name in names]]
        names.remove(label)
    if like is not None:
        frame, names = _arranged(frame, like, where), list(like)
    wrong = [name for name, kind in zip(names, frame.dtypes, strict=True) if getattr(kind, "kind", "O") not in "biuf"]
    if wrong:
        advice = "remove them, write numbers in their place, or choose a column of classes by --data.label NAME"
        raise InputError(f"{where}: these columns hold no numbers: {listed(wrong)}; {advice}")
    alike = len(set(frame.dtypes)) == 1 and isinstance(frame.dtypes.iloc[0], np.dtype)
    values = frame.to_numpy() if alike else frame.to_numpy(np.float32, na_value=np.nan)
    numbered = all(isinstance(name, int | np.integer) for name in frame.columns)  # names that pandas gave
    return values, labels, None if numbered else tuple(names)


def joined(frames: Sequence[Any], files: Sequence[str]) -> Any:
    """Join the data frames of several files; their columns are brought into the order of the first."""
    import pandas

    like = list(map(str, frames[0].columns))
    arranged = [_arranged(frame, like, file) for frame, file in zip(frames, files, strict=True)]
    return pandas.concat(arranged, ignore_index=True)


def _arranged(frame: Any, like: Sequence[str], where: str) -> Any:
    names = list(map(str, frame.columns))
    if sorted(names) != sorted(like):
        differing = listed(sorted({*names} ^ {*like}))
        raise InputError(f"{where}: other columns than the training examples; they differ in {differing}")
    return frame.iloc[:, [names.index(name) for name in like]]


def _require_different(names: Sequence[str], where: str) -> None:
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{where}: several columns have the name {', '.join(repeated)}; give each its own name")
