"""Folders of image files: parts, classes and pixels."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aejax.config import InputError
from aejax.config.checks import reason
from aejax.data.array_files import FORMATS
from aejax.data.mapped import require_memory
from aejax.data.parts import WORDS, say_left_out, with_test

if TYPE_CHECKING:
    from PIL import Image

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")


def read(folder: Path) -> Mapping[str, np.ndarray]:
    """Read the arrays `train` and, if there are folders of both, `test`; with labels if folders are classes.

    The folder holds images, folders of images as classes, or folders of parts (see `parts.WORDS`) with images or
    classes. Validation images become the test images if there are no test images. Links are followed. Hidden files and
    `__MACOSX` are skipped.

    Raises:
        InputError: there are no images, a file is not an 8-bit image without transparency, images differ in size, or
            it is not clear which folders are parts.
    """
    try:
        folders = parts_of(folder)
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    used, unused = with_test(folders)
    say_left_out(folder, [folders[part].name for part in unused])
    folders = used
    files = {part: list(files_below(path)) for part, path in folders.items()}
    for part, path in folders.items():
        if not files[part]:
            images, arrays = ", ".join(sorted(_ENDINGS)), ", ".join(FORMATS)
            raise InputError(f"the folder {path} holds no images ({images}) and no arrays ({arrays})")
    first = files["train"][0]
    size = _pixels(first)
    # Memory holds each image twice: alone, and in the array of all.
    needed = 2 * size.nbytes * sum(map(len, files.values()))
    require_memory(needed, f"{folder}: to read its images", "make them smaller, or give train.npy and test.npy")
    images = {part: [_pixels(file, (first, size.shape[:2])) for file in paths] for part, paths in files.items()}
    grey = all(image.ndim == 2 for part in images.values() for image in part)
    arrays = {part: np.stack([_channels(image, grey) for image in each]) for part, each in images.items()}
    classes = {f"{part}_labels": _classes(folders[part], paths) for part, paths in files.items()}
    return arrays | (classes if all(names is not None for names in classes.values()) else {})


def parts_of(folder: Path) -> dict[str, Path]:
    """Return the folder of each part; without such folders, the folder itself as the training part.

    Raises:
        InputError: a folder may be a part or a class.
    """
    inside = [entry for entry in sorted(folder.iterdir()) if not is_hidden(entry.name)]
    below = [entry for entry in inside if entry.is_dir()]
    parts: dict[str, Path] = {}
    for part, words in WORDS.items():
        found = [entry for entry in below if entry.name.lower() in words]
        if len(found) > 1:
            raise InputError(f"{folder} has the folders {found[0].name} and {found[1].name}; keep one of them")
        parts |= {part: found[0]} if found else {}
    if not parts:
        return {"train": folder}
    first = next(iter(parts.values()))
    others = [entry for entry in below if entry not in parts.values() and any(files_below(entry))]
    others += [entry for entry in inside if _is_image(entry)]
    if others or "train" not in parts:
        found = f"{others[0].name} beside {first.name}" if others else f"{first.name} and none for training"
        raise InputError(
            f"{folder} has {found}: are these classes or parts? Put all images, or the folders of all classes, below "
            f"{folder / 'train'} (and {folder / 'test'})"
        )
    return parts


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the images below a folder, sorted; follow links, but not in circles."""

    def entries(path: Path, above: tuple[Path, ...]) -> Iterator[Path]:
        real = path.resolve()
        if real in above:
            return
        for entry in sorted(path.iterdir()):
            if entry.is_dir() and not is_hidden(entry.name):
                yield from entries(entry, (*above, real))
            elif _is_image(entry):
                yield entry

    try:
        yield from entries(folder, ())
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read: {error.strerror}") from error


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _ENDINGS and not path.is_dir() and not is_hidden(path.name)


def _classes(folder: Path, files: list[Path]) -> np.ndarray | None:
    """Return the name of each file's top folder; None unless all files lie in two or more folders."""
    names = [file.relative_to(folder).parts[0] for file in files if file.parent != folder]
    return np.array(names) if len(names) == len(files) and len(set(names)) > 1 else None


def _pixels(file: Path, like: tuple[Path, tuple[int, ...]] | None = None) -> np.ndarray:
    """Read a file as upright pixels, uint8[H, W] of a grey image or [H, W, 3].

    Args:
        like: another file and its size, which must be the same.
    """
    from PIL import Image, ImageOps

    if not file.is_file():
        raise InputError(f"{file} is no file that can be read: {'a broken link' if file.is_symlink() else 'remove it'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # palettes with transparency, which we check ourselves
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                _require_plain(image, file)
                pixels = np.asarray(_without_palette(ImageOps.exif_transpose(image)))
    except InputError:
        raise
    except Exception as error:  # damage raises many types
        raise InputError(f"{file} cannot be read as an image: {reason(error)}") from error
    if like is not None and pixels.shape[:2] != like[1]:
        sizes = [f"{width}x{height}" for height, width in (pixels.shape[:2], like[1])]
        raise InputError(f"{file} is {sizes[0]} and {like[0]} is {sizes[1]}; the images must be of one size")
    return pixels


def _require_plain(image: Image.Image, file: Path) -> None:
    """Refuse images that 8 bits per channel cannot hold, several pages, and transparency."""
    if image.mode not in _MODES or _is_deep(image):
        raise InputError(
            f"{file} has pixels of Pillow's mode {image.mode}, which are not grey or colour of 8 bits; "
            "convert it to 8 bits per channel"
        )
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # a photograph with a preview, in this order
        raise InputError(f"{file} has {pages} pages or frames; save each page as a file of its own")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise InputError(f"{file} has transparent pixels, which have no colour; save it with a background instead")


def _is_deep(image: Image.Image) -> bool:
    """Tell whether a file has more than 8 bits per channel, which Pillow would cut."""
    for tile in image.tile:
        mode, *rest = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if re.search(";16[BLN]", str(mode)) or (image.format == "PPM" and any(int(each) > 255 for each in rest)):
            return True
    return False


def _without_palette(image: Image.Image) -> Image.Image:
    """Convert to mode L or RGB; a palette of greys becomes L."""
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    colours = image.convert("RGB")
    if image.mode in ("P", "PA"):
        red, green, blue = np.moveaxis(np.asarray(colours), -1, 0)
        return colours.getchannel("R") if np.array_equal(red, green) and np.array_equal(green, blue) else colours
    return colours


def _channels(image: np.ndarray, grey: bool) -> np.ndarray:
    """Add an axis of 1 channel if all images are grey, otherwise of 3."""
    if grey:
        return image[..., None]
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
