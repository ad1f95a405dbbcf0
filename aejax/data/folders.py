"""Folders of arrays or images: which file holds which part, and which class."""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.config.sections import Data
from aejax.data import images, tables
from aejax.data.array_files import FORMATS, load, reader
from aejax.data.mapped import Shards, require_memory
from aejax.data.parts import PART_OF, WORDS, named, refuse_both, say_left_out, with_test

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
    folders, parts = {}, {}
    try:
        arrays = _arrays_in(folder)
        groups = _by_name(folder, arrays)
        if "train" not in groups:
            folders = _parts_of(folder)
            parts = with_test(folder, folders)
            if arrays and not any(map(_arrays_in, parts.values())):
                parts = {"train": folder}
            groups = {part: _files_in(path) for part, path in parts.items()}
            for file in arrays if parts["train"] == folder else ():
                if _DOUBTFUL.search(file.stem.lower()):
                    raise InputError(
                        f"{folder} holds {file.name} and nothing named train-...; name the training examples train-..."
                    )
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    groups = with_test(folder, groups)
    used = {*parts.values(), *(file for group in groups.values() for file in group)}
    say_left_out(folder, [entry.name for entry in (*arrays, *folders.values()) if entry not in used])
    if len({reader(group[0]) is None for group in groups.values()}) > 1:
        raise InputError(f"{folder} holds a part with arrays and a part with images; keep one kind")
    if reader(groups["train"][0]) is None:
        return _images(folder, parts, groups, data)
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

    def natural(file: Path) -> tuple[list[tuple[int, str]], str]:
        pieces = re.split(r"(\d+)", file.name)
        return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], file.name

    found = [file for file in _entries(folder) if reader(file) and not file.is_dir()]
    if any(reader(file) is tables.read for file in found) and any(_images_in(folder)):  # descriptions of the images
        found = [file for file in found if reader(file) is not tables.read]
    # torchvision leaves the compressed file next to the other.
    return sorted((file for file in found if file.suffix != ".gz" or file.with_suffix("") not in found), key=natural)


def _parts_of(folder: Path) -> dict[str, Path]:
    """Return the folder of each part; without such folders, the folder itself as the training part."""
    inside, parts = _entries(folder), {}
    for entry in inside:
        if entry.is_dir() and (part := PART_OF.get(entry.name.lower())):
            if part in parts:
                refuse_both(folder, parts[part].name, entry.name)
            parts[part] = entry
    if not parts:
        return {"train": folder}
    others = [each for each in inside if each not in parts.values() and any(_images_in(each))]
    if others or "train" not in parts:
        first = parts.get("train") or next(iter(parts.values()))
        found = f"{others[0].name} and {first.name}" if others else f"{first.name} and none for training"
        raise InputError(
            f"{folder} has {found}: are these classes or parts? Put all images, or the folders of all classes, below "
            f"{folder / 'train'} (and {folder / 'test'})"
        )
    return parts


def _images_in(path: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the images of a path, sorted; follow links, but not in circles."""
    if path.is_dir():
        for entry in _entries(path) if path.resolve() not in above else ():
            yield from _images_in(entry, (*above, path.resolve()))
    elif path.suffix.lower() in images.ENDINGS:
        yield path


def _entries(folder: Path) -> list[Path]:
    """Return the sorted content of a folder, without the files that systems and programs leave there."""
    return [each for each in sorted(folder.iterdir()) if not each.name.startswith(".") and each.name != "__MACOSX"]


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


def _joined(files: Sequence[Path], labels: bool) -> np.ndarray | Shards:
    """Read the arrays of one part, in the order of their files."""
    for file in files:
        if reader(file) is not reader(files[0]):
            raise InputError(f"{files[0]} and {file.name} are shards of two kinds; keep one kind")
    size = sum(_unpacked(file) for file in files if file.suffix == ".npz")
    require_memory(size, f"{files[0].parent}: to read its .npz files", "save them as .npy, which are mapped")
    arrays = []
    for file in files:
        content = load(file)
        if isinstance(content, Mapping):
            if len(content) != 1:
                held = ", ".join(content) or "nothing"
                raise InputError(f"{file} holds {held}; a shard holds one array, or give the path of one file with all")
            (content,) = content.values()
        if content.ndim == 0 or len(content) == 0:
            raise InputError(f"{file} holds no examples: its shape is {list(content.shape)}")
        arrays.append(content)
        shapes = [f"[{', '.join(['N', *map(str, array.shape[1:])])}]" for array in (arrays[0], content)]
        names = [each for each in (arrays[0], content) if tables.is_table(each)]
        types = shapes if labels else [list(each) for each in names] or [arrays[0].dtype, content.dtype]
        for what, (one, other) in {"shape": shapes, "type": types}.items():
            if one != other:
                raise InputError(f"{files[0]} holds {one} and {file.name} {other}; shards must be of one {what}")
    if len(arrays) == 1:
        return arrays[0]
    if tables.is_table(arrays[0]):
        import pandas

        return pandas.concat(arrays, ignore_index=True)
    return np.concatenate(arrays) if labels else Shards(arrays, [file.name for file in files])


def _unpacked(file: Path) -> int:
    """Return the bytes of a `.npz` file in memory; 0 for a damaged file, which `load` refuses."""
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
        return sum(member.file_size for member in archive.infolist())
    return 0


def _images(
    folder: Path, parts: Mapping[str, Path], files: Mapping[str, Sequence[Path]], data: Data
) -> dict[str, np.ndarray]:
    """Read the images of each part, and their classes if folders are classes in all parts."""
    found = images.read(folder, files, data)
    for part, path in parts.items():
        names = [file.relative_to(path).parts[0] for file in files[part] if file.parent != path]
        if len(names) < len(files[part]) or len(set(names)) < 2:
            return {part: found[part] for part in parts}
        found[f"{part}_labels"] = np.array(names)
    return found
