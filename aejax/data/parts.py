"""Names of the parts of a dataset: of arrays in a file, of files, and of folders."""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aejax.config import InputError
from aejax.config.checks import listed

PARTS = ("train", "test", "train_labels", "test_labels", "validation", "validation_labels")
TARGETS = ("train_targets", "test_targets", "validation_targets")
"""names of targets other than the input, in a mapping"""
CALLED = {"train": "training", "test": "test", "validation": "validation"}
"""part with examples → its name in messages"""

WORDS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "t10k"),
}
"""words for each part, in any case; x_, y_, _images and _labels may be added; t10k is MNIST's"""

_ALONE = dict.fromkeys(("images", "x", "data"), "train") | dict.fromkeys(("labels", "y", "target"), "train_labels")
"""names without these words that an array in a file may have"""

PART_OF = {word: part for part, words in WORDS.items() for word in words}
_NAMED = re.compile(rf"([xy]_)?({'|'.join(PART_OF)})(?![a-z])([-_.]?(?:labels?|images?)(?![a-z]))?(.*)", re.DOTALL)


def named(name: str) -> tuple[str, str] | None:
    """Return the part that a name begins with and the rest: "Test_labels-3" → ("test_labels", "-3")."""
    if found := _NAMED.fullmatch(name.lower()):
        labels = found[1] == "y_" or "label" in (found[3] or "")
        return PART_OF[found[2]] + ("_labels" if labels else ""), found[4]
    return None


def of_array(name: str) -> str | None:
    """Return the part that is the whole name of an array in a file; None for any other name."""
    part, rest = named(name) or (_ALONE.get(name.lower()), "")
    return None if rest else part


def chosen(where: Path | str, part_of: Mapping[str, str | None]) -> dict[str, str]:
    """Return part → name of its content; refuse two names for one part, and warn of names without a part.

    Without a test part, the validation part becomes the test part.
    """
    names: dict[str, str] = {}
    for name, part in part_of.items():
        if part in names:
            refuse_both(where, names[part], name)
        if part is not None:
            names[part] = name
    say_left_out(where, [name for name, part in part_of.items() if part is None])
    return with_test(where, names)


def with_test(where: Path | str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the validation part to test if there is no test part, with a warning."""
    if "test" in parts or "validation" not in parts:
        return dict(parts)
    message = "%s has validation examples but no test examples: the validation examples are used as test examples"
    logging.getLogger("aejax").warning(message, where)
    return {part.replace("validation", "test"): value for part, value in parts.items()}


def refuse_both(where: Path | str, first: str, second: str) -> None:
    """Refuse two files, folders or arrays for one part."""
    raise InputError(f"{where} holds {first} and {second}; keep one of them")


def say_left_out(where: Path | str, names: Iterable[object]) -> None:
    """Warn of content that is not used."""
    if shown := listed(names, 3):
        logging.getLogger("aejax").warning("%s: left out: %s", where, shown)
