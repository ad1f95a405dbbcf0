"""Folders of arrays: `train.npy` beside `test.npy`, or shards, files that each hold some of the examples."""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from aejax.config import InputError
from aejax.data import image_folders
from aejax.data.array_files import ENDINGS, PARTS, load, say_left_out, with_test
from aejax.data.mapped import Shards, require_memory

_PART_OF = {name: part for part, names in image_folders.NAMES.items() for name in names}
_NAMED = re.compile(rf"({'|'.join(_PART_OF)})(?![a-z])([-_.]?labels?(?![a-z]))?(.*)")
"""a part, whether its labels, and what tells the shards apart: train-00003, test, train_labels-1"""

_DOUBTFUL = re.compile(rf"(?<![a-z])({'|'.join(set(_PART_OF) - {'train', 'training'})}|labels?|targets?|y)(?![a-z])")
"""what says that a file holds no training examples, wherever it stands in a name"""


def read(folder: Path) -> Mapping[str, np.ndarray | Shards] | None:
    """The arrays `train` and, where given, `test`, `train_labels`, `test_labels` of a folder; None where it has none.

    The folder holds `train.npy` and its like; or shards `train-...`, `test-...`, `.npy` or `.npz` with one array each;
    or folders `train`, `test` (as those of images are called) that hold shards; or nothing but shards, which are all
    training examples. The number in the name of a shard is its place. Arrays in `.npy` files are mapped. Validation
    examples are the test examples where there are no others.

    Raises:
        InputError: a file cannot be read, shards do not agree in type and shape, there are images among them, or it is
            not clear which examples are meant.
    """
    try:
        files = _files(folder)
        if (folder / "train.npy").is_file():
            return _whole(folder, files)
        named = _by_part(files)
        if "train" in named:
            _require_one_way(folder, named["train"][0])
            used = {file for group in named.values() for file in group}
            say_left_out(folder, [file.name for file in files if file not in used])
        else:
            divided = _divided(folder)
            if divided is None and not files:
                return None
            say_left_out(folder, [file.name for file in files] if divided is not None else [])
            named = _all_for_training(folder, files) if divided is None else divided
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    named, unused = with_test(named)
    say_left_out(folder, unused)
    return {part: _labels(group) if part.endswith("labels") else _examples(group) for part, group in named.items()}


def _whole(folder: Path, files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Of a folder with `train.npy`, each part in a file of its own."""
    for file in files:
        found = _NAMED.fullmatch(file.stem.lower())
        if found and re.match(r"[-_.]?\d", found[3]):
            raise InputError(
                f"{folder} holds train.npy and {file.name}: is that a shard? Keep one of them, or name the first "
                "train-0.npy"
            )
    say_left_out(folder, [file.name for file in files if file.name not in {f"{part}.npy" for part in PARTS}])
    return {part: load(folder / f"{part}.npy") for part in PARTS if (folder / f"{part}.npy").is_file()}


def _by_part(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Part, or part and labels → the files that are named for it."""
    named: dict[str, list[Path]] = {}
    for file in files:
        if found := _NAMED.fullmatch(file.stem.lower()):
            named.setdefault(_PART_OF[found[1]] + ("_labels" if found[2] else ""), []).append(file)
    return named


def _divided(folder: Path) -> dict[str, list[Path]] | None:
    """Part → the shards in its folder; None where there are no such folders, or they hold no arrays."""
    parts = image_folders.parts_of(folder)
    if parts == {"train": folder}:
        return None
    found = {part: _files(at) for part, at in parts.items()}
    if not any(found.values()):
        return None
    for part, at in parts.items():
        if not found[part]:
            other = next(files[0] for files in found.values() if files)
            raise InputError(f"{at} holds no arrays (.npy, .npz) and {other.parent} does; give arrays in both")
        _require_no_images(at, found[part][0])
    return found


def _all_for_training(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """Of a folder that holds nothing but shards."""
    _require_no_images(folder, files[0])
    for file in files:
        if _DOUBTFUL.search(file.stem.lower()):
            raise InputError(
                f"{folder} holds {file.name} and nothing named train-...: which are training examples? Name them so"
            )
    return {"train": list(files)}


def _files(folder: Path) -> list[Path]:
    """The arrays right in a folder, shard 2 before shard 10."""
    found = [file for file in folder.iterdir() if file.suffix in ENDINGS and not image_folders.is_hidden(file.name)]
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


def _require_one_way(folder: Path, shard: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and _PART_OF.get(entry.name.lower()) == "train":
            raise InputError(f"{folder} holds {shard.name} and a folder {entry.name}; keep one of them")


def _examples(files: Sequence[Path]) -> np.ndarray | Shards:
    """The examples of one part, in the order of its files."""
    arrays = _arrays(files)
    for file, array in zip(files, arrays, strict=True):
        if array.dtype != arrays[0].dtype:
            _refuse(files[0], f"{arrays[0].dtype}", file, f"{array.dtype}", "one type")
    return arrays[0] if len(arrays) == 1 else Shards(arrays, [file.name for file in files])


def _labels(files: Sequence[Path]) -> np.ndarray:
    arrays = _arrays(files)
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _arrays(files: Sequence[Path]) -> list[np.ndarray]:
    """One of each file, all of one shape but for the first axis."""
    for file in files:
        if file.suffix != files[0].suffix:
            raise InputError(f"{files[0]} and {file.name} are shards of two kinds, maybe of the same; keep one kind")
    size = sum(_unpacked(file) for file in files)
    require_memory(size, f"{files[0].parent}: to read its .npz files", "save them as .npy, which are mapped")
    arrays = [_array(file) for file in files]
    for file, array in zip(files, arrays, strict=True):
        if array.ndim == 0 or len(array) == 0:
            raise InputError(f"{file} holds no examples: its shape is {list(array.shape)}")
        if array.shape[1:] != arrays[0].shape[1:]:
            shapes = [f"[N, {', '.join(map(str, each.shape[1:]))}]".replace(", ]", "]") for each in (arrays[0], array)]
            _refuse(files[0], shapes[0], file, shapes[1], "one shape")
    return arrays


def _refuse(first: Path, its: str, other: Path, others: str, what: str) -> None:
    raise InputError(f"{first} holds {its} and {other.name} {others}; shards must be of {what}")


def _array(file: Path) -> np.ndarray:
    content = load(file)
    if isinstance(content, np.ndarray):
        return content
    if len(content) != 1:
        held = ", ".join(content) or "nothing"
        raise InputError(f"{file} holds {held}; a shard holds one array, or give the path of one file with all")
    return next(iter(content.values()))


def _unpacked(file: Path) -> int:
    """Bytes of the arrays in a `.npz` file; 0 of another, or where it is damaged, which reading it tells."""
    with contextlib.suppress(OSError, zipfile.BadZipFile):
        if file.suffix == ".npz":
            with zipfile.ZipFile(file) as archive:
                return sum(member.file_size for member in archive.infolist())
    return 0
