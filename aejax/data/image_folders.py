"""The user's own images in folders: which folder is which part, which class an image has, and what is in a file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aejax.config import InputError
from aejax.data.array_files import ENDINGS, say_left_out, with_test
from aejax.data.mapped import require_memory

if TYPE_CHECKING:
    from PIL import Image

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""how the folders of the parts may be called, in capitals or not"""


def read(folder: Path) -> Mapping[str, np.ndarray]:
    """The arrays `train` and, where there are folders for both, `test`; with their labels where folders are classes.

    The folder holds images, or folders of images that are classes, or folders for training and for validation or test
    (see `NAMES`) that hold either. Validation images are the test images where there are no others. Links are
    followed; names that begin with a dot, and what macOS puts into archives, are no images.

    Raises:
        InputError: there are no images, a file cannot be read as an 8-bit image without transparency, two are of
            different sizes, or it is not clear which folders are parts.
    """
    try:
        folders = parts_of(folder)
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read: {error.strerror}") from error
    files = {part: list(files_below(path)) for part, path in folders.items()}
    for part, path in folders.items():
        if not files[part]:
            held = ", ".join(sorted(_ENDINGS)), ", ".join(sorted(ENDINGS))
            raise InputError(f"the folder {path} holds no images ({held[0]}) and no arrays ({held[1]})")
    files, unused = with_test(files)
    say_left_out(folder, [folders[part].name for part in unused])
    shapes: dict[tuple[int, int], Path] = {}
    first = _pixels(next(iter(files.values()))[0], shapes)
    # Each is held twice: by itself, and in the array of all.
    needed = 2 * first.nbytes * sum(map(len, files.values()))
    require_memory(needed, f"{folder}: to read its images", "make them smaller, or give train.npy and test.npy")
    arrays = {part: [_pixels(file, shapes) for file in paths] for part, paths in files.items()}
    grey = all(image.ndim == 2 for images in arrays.values() for image in images)
    parts = {part: np.stack([_channels(image, grey) for image in images]) for part, images in arrays.items()}
    known = {name.replace("validation", "test") if "test" not in folders else name: at for name, at in folders.items()}
    classes = {part: _classes(known[part], paths) for part, paths in files.items()}
    if all(names is not None for names in classes.values()):
        parts |= {f"{part}_labels": names for part, names in classes.items()}
    return parts


def parts_of(folder: Path) -> dict[str, Path]:
    """Part → its folder; the folder itself where it is not divided.

    Raises:
        InputError: it is not clear what is a part and what a class.
    """
    inside = [entry for entry in sorted(folder.iterdir()) if not is_hidden(entry.name)]
    below = [entry for entry in inside if entry.is_dir()]
    found = {part: [each for each in below if each.name.lower() in names] for part, names in NAMES.items()}
    for several in found.values():
        if len(several) > 1:
            raise InputError(f"{folder} has the folders {several[0].name} and {several[1].name}; keep one of them")
    parts = {part: several[0] for part, several in found.items() if several}
    if not parts:
        return {"train": folder}
    first = next(iter(parts.values()))
    others = [entry for entry in below if entry not in parts.values() and any(files_below(entry))]
    others += [entry for entry in inside if _is_image(entry)]
    if others or "train" not in parts:
        beside = f"{others[0].name} beside {first.name}" if others else f"{first.name} and none for training"
        raise InputError(
            f"{folder} has {beside}: are these classes or parts? Put all images, or the folders of all classes, below "
            f"{folder / 'train'} (and {folder / 'test'})"
        )
    return parts


def files_below(folder: Path) -> Iterator[Path]:
    """The images below a folder, sorted, through links but not in circles."""

    def entries(path: Path, above: tuple[Path, ...]) -> Iterator[Path]:
        real = path.resolve()
        if real in above:
            return
        for entry in sorted(path.iterdir()):
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
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
    """The folder that each file is in, right below the part's, as its class; None where they are not in two or more."""
    names = [file.relative_to(folder).parts[0] for file in files if file.parent != folder]
    return np.array(names) if len(names) == len(files) and len(set(names)) > 1 else None


def _pixels(file: Path, shapes: dict[tuple[int, int], Path]) -> np.ndarray:
    """The pixels of a file, uint8[H, W] of a grey image or [H, W, 3], upright.

    Args:
        shapes: of the files before, and one file of each; this one's is added.
    """
    from PIL import Image, ImageOps

    if not file.is_file():
        raise InputError(f"{file} is no file that can be read: {'a broken link' if file.is_symlink() else 'remove it'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # on palettes with transparency, which is looked at below
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                _require_plain(image, file)
                image = _without_palette(ImageOps.exif_transpose(image))
                pixels = np.asarray(image)
    except InputError:
        raise
    except Exception as error:  # damage shows as one of many types
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{file} cannot be read as an image: {reason}") from error
    shape = pixels.shape[:2]
    other = next(iter(shapes), shape)
    if shape != other:
        raise InputError(
            f"{file} is {shape[1]}x{shape[0]} and {shapes[other]} is {other[1]}x{other[0]}; the images must be of one "
            "size"
        )
    shapes[shape] = file
    return pixels


def _require_plain(image: Image.Image, file: Path) -> None:
    """Refuse what would lose something: several pages, more than 8 bits, transparency.

    Raises:
        InputError: it has some of that.
    """
    if image.mode not in _MODES or _is_deep(image):
        raise InputError(
            f"{file} has pixels of the kind {image.mode} (as Pillow calls it), which are not grey or colour of 8 bits; "
            "convert it to 8 bits per channel"
        )
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # a photograph and its preview, of which the first is meant
        raise InputError(f"{file} has {pages} pages or frames; save each as a file of its own")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise InputError(f"{file} has transparent pixels, which have no colour; put it on a ground and save it without")


def _is_deep(image: Image.Image) -> bool:
    """Whether a file has more than 8 bits for each channel of its pixels, which Pillow would cut."""
    for tile in image.tile:
        mode, *rest = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        if re.search(";16[BLN]", str(mode)) or (image.format == "PPM" and any(int(each) > 255 for each in rest)):
            return True
    return False


def _without_palette(image: Image.Image) -> Image.Image:
    """An image of the mode L or RGB; one with a palette is grey if all of its colours are."""
    if image.mode in ("1", "L", "LA"):
        return image.convert("L")
    colours = image.convert("RGB")
    if image.mode in ("P", "PA"):
        red, green, blue = np.moveaxis(np.asarray(colours), -1, 0)
        return colours.getchannel("R") if np.array_equal(red, green) and np.array_equal(green, blue) else colours
    return colours


def _channels(image: np.ndarray, grey: bool) -> np.ndarray:
    """[H, W, 1] where all images are grey, else [H, W, 3]."""
    if grey:
        return image[..., None]
    return np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
