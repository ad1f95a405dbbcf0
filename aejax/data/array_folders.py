"""Folders of arrays: one file per part, such as `train.npy` and `test.npy`, or shards `train-0.npy`, `train-1.npy`."""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aejax.config import InputError
from aejax.data import image_folders
from aejax.data.array_files import FORMATS, load
from aejax.data.mapped import Shards, require_memory
from aejax.data.parts import PART_OF, is_doubtful, named, say_left_out, with_test


def read(folder: Path) -> Mapping[str, np.ndarray | Shards] | None:
    """Read the arrays `train` and, if given, `test`, `train_labels`, `test_labels` of a folder; None without arrays.

    The folder holds files that are named for their parts, or folders named for them, or only shards of training
    examples. Shards are ordered by the numbers in their names. Validation examples become the test examples if there
    are no test examples.

    Raises:
        InputError: a file cannot be read, shards differ in type or shape, there are images too, or the part of some
            examples is not clear.
    """
    try:
        files = _files(folder)
        groups = _by_part(folder, files)
        if "train" not in groups:
            divided = _divided(folder)
            if divided is None and not files:
                return None
            groups = _all_for_training(folder, files) if divided is None else divided
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    used = {file for group in groups.values() for file in group}
    groups, unused = with_test(groups)
    say_left_out(folder, [file.name for file in files if file not in used])
    say_left_out(folder, unused)
    return {part: _joined(group, part.endswith("labels")) for part, group in groups.items()}


def _by_part(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the files that are named for each part: one file without a number, or shards."""
    found: dict[str, dict[Path, str]] = {}
    for file in files:
        if known := named(file.stem):
            found.setdefault(known[0], {})[file] = known[1]
    groups = {}
    for part, group in found.items():
        whole = [file for file, rest in group.items() if not rest]
        others = [file for file, rest in group.items() if whole and re.match(r"[-_.]?\d", rest)]
        if others or len(whole) > 1:
            question = "is that a shard? Name the first train-0.npy, or keep" if others else "keep"
            raise InputError(
                f"{folder} holds {whole[0].name} and {(others or whole[1:])[0].name}: {question} one of them"
            )
        groups[part] = whole or list(group)
        for entry in folder.iterdir() if part == "train" and not whole else ():
            if entry.is_dir() and PART_OF.get(entry.name.lower()) == "train":
                raise InputError(f"{folder} holds {groups[part][0].name} and a folder {entry.name}; keep one of them")
    return groups


def _divided(folder: Path) -> dict[str, list[Path]] | None:
    """Return the shards in the folder of each part; None without such folders, or without arrays in them."""
    parts = image_folders.parts_of(folder)
    found = {part: _files(at) for part, at in parts.items() if at != folder}
    if not any(found.values()):
        return None
    for part, at in parts.items():
        if not found[part]:
            other = next(files[0] for files in found.values() if files)
            raise InputError(f"{at} holds no arrays (.npy, .npz) and {other.parent} does; give arrays in both")
        _require_no_images(at, found[part][0])
    return found


def _all_for_training(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    _require_no_images(folder, files[0])
    for file in files:
        if is_doubtful(file.stem):
            raise InputError(
                f"{folder} holds {file.name} and nothing named train-...; name the files of training examples train-..."
            )
    return {"train": list(files)}


def _files(folder: Path) -> list[Path]:
    """Return the files of arrays in a folder, shard 2 before shard 10."""
    found = [file for file in folder.iterdir() if file.suffix in FORMATS and not image_folders.is_hidden(file.name)]
    return sorted((file for file in found if not file.is_dir()), key=_natural)


def _natural(file: Path) -> tuple[list[tuple[int, str]], str]:
    pieces = re.split(r"(\d+)", file.name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], file.name


def _require_no_images(folder: Path, array: Path) -> None:
    if (image := next(image_folders.files_below(folder), None)) is not None:
        raise InputError(
            f"{folder} holds arrays ({array.name}) and images ({image.relative_to(folder)}); keep one kind, or give "
            "the path of a file"
        )


def _joined(files: Sequence[Path], labels: bool) -> np.ndarray | Shards:
    """Read the files of one part, in their order."""
    for file in files:
        if file.suffix != files[0].suffix:
            raise InputError(f"{files[0]} and {file.name} are shards of two kinds; keep one kind")
    size = sum(_unpacked(file) for file in files)
    require_memory(size, f"{files[0].parent}: to read its .npz files", "save them as .npy, which are mapped")
    arrays = [_array(file) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.ndim == 0 or len(array) == 0:
            raise InputError(f"{file} holds no examples: its shape is {list(array.shape)}")
        for what, ours, first in (("shape", _shape(array), _shape(arrays[0])), ("type", array.dtype, arrays[0].dtype)):
            if ours != first and not (labels and what == "type"):
                raise InputError(f"{files[0]} holds {first} and {file.name} {ours}; shards must be of one {what}")
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if labels else Shards(arrays, [file.name for file in files])


def _shape(array: np.ndarray) -> str:
    return f"[{', '.join(['N', *map(str, array.shape[1:])])}]"


def _array(file: Path) -> np.ndarray:
    content = load(file)
    if not isinstance(content, Mapping):
        return content
    if len(content) != 1:
        held = ", ".join(content) or "nothing"
        raise InputError(f"{file} holds {held}; a shard holds one array, or give the path of one file with all")
    return next(iter(content.values()))


def _unpacked(file: Path) -> int:
    """Return the bytes of the arrays in a `.npz` file; 0 for other files, and for a damaged one, which `load` names."""
    with contextlib.suppress(OSError, zipfile.BadZipFile):
        if file.suffix == ".npz":
            with zipfile.ZipFile(file) as archive:
                return sum(member.file_size for member in archive.infolist())
    return 0
