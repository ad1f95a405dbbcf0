"""Folders of arrays or images: which file holds which part, and which class."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.config.checks import refusing
from aejax.config.sections import Data
from aejax.data import images, tables
from aejax.data.array_files import FORMATS, load, reader
from aejax.data.examples import Shards
from aejax.data.parts import PART_OF, WORDS, chosen, named, refuse_both, say_left_out, with_test

_DOUBTFUL = re.compile(rf"(?<![a-z])({'|'.join(set(PART_OF) - {*WORDS['train']})}|labels?|targets?|y)(?![a-z])")
"""words in the name of a file that may hold no training examples"""


def read(folder: Path, data: Data) -> Mapping[str, Any]:
    """Read the arrays of a folder: `train` and, if given, the others of `parts.PARTS`.

    The folder holds files of arrays named for their parts, or folders named for their parts, with arrays or images; or
    only arrays or images, which are training examples. Several files of a part are shards, ordered by the numbers in
    their names. Folders of images in a part are classes. Hidden files and `__MACOSX` are skipped.

    Raises:
        InputError: a file cannot be read, there are arrays and images, there are neither, examples differ in size or
            type, or their part is not clear.
    """
    try:
        arrays = _arrays_in(folder)
        groups, parts = with_test(folder, _by_name(folder, arrays)), {}
        if "train" not in groups:
            parts = _parts_of(folder)
            if arrays and not any(map(_arrays_in, parts.values())):
                parts = {"train": folder}
            groups = {part: _files_in(path) for part, path in parts.items()}
            for file in arrays if parts["train"] == folder else ():
                if _DOUBTFUL.search(file.stem.lower()):
                    raise InputError(
                        f"{folder} holds {file.name} and nothing named train-...; name the training examples train-..."
                    )
        used = {*parts.values(), *(file for group in groups.values() for file in group)}
        seen = [] if folder in used else _entries(folder)
        seen += [file for path in parts.values() for file in _all_in(path)]
        say_left_out(folder, [entry.relative_to(folder) for entry in seen if entry not in used])
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    if len({reader(group[0]) is None for group in groups.values()}) > 1:
        raise InputError(f"{folder} holds a part with arrays and a part with images; keep one kind")
    if reader(groups["train"][0]) is None:
        return images.read(folder, parts, groups, data)
    return {part: _joined(group, part.endswith("labels")) for part, group in groups.items()}


def _by_name(folder: Path, arrays: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files that are named for each part: one file without a number, or shards."""
    groups: dict[str, list[Path]] = {}
    for file in arrays:
        if known := named(file.stem):
            groups.setdefault(known[0], []).append(file)
    for part, files in groups.items():
        whole = [file for file in files if not named(file.stem)[1]]
        if shards := [file for file in files if whole and re.match(r"[-_.]?\d", named(file.stem)[1])]:
            advice = "is that a shard? Name the first train-0.npy"
            refuse_both(folder, whole[0].name, f"{shards[0].name}: {advice}")
        if len(whole) > 1:
            refuse_both(folder, whole[0].name, whole[1].name)
        groups[part] = whole or files
        for entry in folder.iterdir() if part == "train" and not whole else ():
            if entry.is_dir() and PART_OF.get(entry.name.lower()) == "train":
                refuse_both(folder, groups[part][0].name, f"a folder {entry.name}")
    return groups


def _arrays_in(folder: Path) -> list[Path]:
    """Return the files of arrays in a folder, shard 2 before shard 10."""
    found = [file for file in _entries(folder) if reader(file) and not file.is_dir()]
    if any(reader(file) is tables.read for file in found) and any(_images_in(folder)):  # descriptions of the images
        found = [file for file in found if reader(file) is not tables.read]
    return sorted(found, key=lambda file: re.sub(r"\d+", lambda digits: digits[0].zfill(30), file.name))


def _parts_of(folder: Path) -> dict[str, Path]:
    """Return the folder of each part; without such folders, the folder itself as the training part."""
    inside = {entry.name: entry for entry in _entries(folder)}
    part_of = {name: PART_OF.get(name.lower()) for name, entry in inside.items() if entry.is_dir()}
    names = chosen(folder, {name: part for name, part in part_of.items() if part})
    if not names:
        return {"train": folder}
    others = [name for name, entry in inside.items() if name not in names.values() and any(_images_in(entry))]
    if others or "train" not in names:
        first = names.get("train") or next(iter(names.values()))
        found = f"{others[0]} and {first}" if others else f"{first} and none for training"
        raise InputError(
            f"{folder} has {found}: are these classes or parts? Put all images, or the folders of all classes, below "
            f"{folder / 'train'} (and {folder / 'test'})"
        )
    return {part: inside[name] for part, name in names.items()}


def _images_in(path: Path) -> Iterator[Path]:
    return (file for file in _all_in(path) if file.suffix.lower() in images.ENDINGS)


def _all_in(path: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the files of a path, sorted; follow links, but not in circles."""
    if path.is_dir():
        for entry in _entries(path) if path.resolve() not in above else ():
            yield from _all_in(entry, (*above, path.resolve()))
    else:
        yield path


def _entries(folder: Path) -> list[Path]:
    """Return the sorted content of a folder, without the files that systems and programs leave there."""
    found = {each.name: each for each in sorted(folder.iterdir())}
    kept = [name for name in found if not name.startswith(".") and name != "__MACOSX"]
    # torchvision leaves the compressed file next to the other.
    return [found[name] for name in kept if not name.endswith(".gz") or name.removesuffix(".gz") not in found]


def _files_in(folder: Path) -> list[Path]:
    """Return the arrays in a folder, or else the images in it and below it; refuse both, and neither."""
    arrays, pictures = _arrays_in(folder), list(_images_in(folder))
    if arrays and pictures:
        both = f"arrays ({arrays[0].name}) and images ({pictures[0].relative_to(folder)})"
        raise InputError(f"{folder} holds {both}; keep one kind, or give the path of a file")
    if not arrays and not pictures:
        endings = ", ".join(sorted(images.ENDINGS))
        raise InputError(f"the folder {folder} holds no images ({endings}) and no arrays ({', '.join(FORMATS)})")
    return arrays or pictures


def _joined(files: Sequence[Path], labels: bool) -> Any:
    """Read the arrays or tables of one part, in the order of their files."""
    contents, names = [], [file.name for file in files]
    for file in files:
        if reader(file) is not reader(files[0]):
            raise InputError(f"{files[0]} and {file.name} are shards of two kinds; keep one kind")
        content = load(file)
        if isinstance(content, Mapping):
            if len(content) != 1:
                held = ", ".join(content) or "nothing"
                raise InputError(f"{file} holds {held}; a shard holds one array, or give the path of one file with all")
            (content,) = content.values()
        if content.ndim == 0 or len(content) == 0:
            raise InputError(f"{file} holds no examples: its shape is {list(content.shape)}")
        contents.append(content)
    if len(contents) == 1:
        return contents[0]
    if tables.is_table(contents[0]):
        return tables.joined(contents, names)
    with refusing(f"{files[0]} and the other shards of labels cannot be joined"):
        return np.concatenate(contents) if labels else Shards(contents, names)
