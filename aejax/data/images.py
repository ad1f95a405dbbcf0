"""Image files of 8 bits per channel as arrays; images of one size and of one number of channels."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aejax.config import InputError
from aejax.config.checks import refusing, require
from aejax.config.sections import Data
from aejax.data.examples import Shards, require_memory, size

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")  # modes of 8 bits that `data.colour` converts
_LUMA = np.float32([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow has it


def read(
    folder: Path, parts: Mapping[str, Path], files: Mapping[str, Sequence[Path]], data: Data
) -> dict[str, np.ndarray]:
    """Read the images of each part, uint8[N, H, W, 1] if all are grey, otherwise uint8[N, H, W, 3].

    `data.size` and `data.colour` change them first. If folders are classes in all parts, the classes are added.

    Raises:
        InputError: a file is no image of 8 bits per channel without transparency, images differ in size, or they do not
            fit in memory.
    """
    require(data.channels != "first", "data.channels", "first", f"auto or last for image files, as in {folder}")
    paths = [file for part in files.values() for file in part]
    # Memory holds each image twice: alone, and in the array of all.
    needed = 2 * _read(paths[0], data).nbytes * len(paths)
    require_memory(needed, f"{folder}: to read its images", "make them smaller, or give train.npy and test.npy")
    images = joined([_read(file, data) for file in paths], paths)
    ends = np.cumsum([len(part) for part in files.values()])
    found, classes = dict(zip(files, np.split(images, ends[:-1]), strict=True)), {}
    for part, path in parts.items():
        names = [file.relative_to(path).parts[0] for file in files[part] if file.parent != path]
        if len(names) < len(files[part]) or len(set(names)) < 2:
            return found
        classes[f"{part}_labels"] = np.array(names)
    return found | classes


def joined(images: Sequence[np.ndarray], names: Sequence[object]) -> np.ndarray:
    """Return images as one array, [N, ...]; grey ones get three channels if others have colours.

    Args:
        names: of the images, for messages.

    Raises:
        InputError: the images are of several sizes.
    """
    if {image.shape[2:] for image in images} == {(1,), (3,)}:
        images = [np.broadcast_to(image, (*image.shape[:2], 3)) for image in images]
    for name, image in zip(names, images, strict=True):
        if image.shape != images[0].shape:
            alike = image.shape[:2] == images[0].shape[:2]
            advice = "--data.colour rgb" if alike else f"--data.size {min(images[0].shape[:2])}"
            found = f"{name} is {size(image.shape)} and {names[0]} is {size(images[0].shape)}"
            raise InputError(f"{found}; bring all to one size by {advice}")
    return np.stack(images)


def _read(file: Path, data: Data) -> np.ndarray:
    """Read a file as upright pixels, uint8[H, W, 1] of a grey image or [H, W, 3]."""
    from PIL import Image

    if not file.is_file():
        raise InputError(f"{file} is no file that can be read: {'a broken link' if file.is_symlink() else 'remove it'}")
    with refusing(f"{file} cannot be read as an image"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # palettes with transparency, which we check ourselves
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            return fitted(pixels(image, file, data), data, str(file))


def pixels(image: Image.Image, file: Path | str, data: Data) -> np.ndarray:
    """Return the upright pixels of an image of Pillow, uint8[H, W, 1] if it is grey, otherwise [H, W, 3]."""
    from PIL import ImageOps

    _require_plain(image, file, _MODES if data.colour is None else (*_MODES, *_COLOURS))
    upright = ImageOps.exif_transpose(image)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(upright.convert("L"))[..., None]
    colours = np.asarray(upright.convert("RGB"))
    palette_of_greys = image.mode in ("P", "PA") and (colours == colours[..., :1]).all()
    return colours[..., :1] if palette_of_greys else colours


def _require_plain(image: Image.Image, file: Path | str, modes: Sequence[str]) -> None:
    """Refuse images that 8 bits per channel cannot hold, several pages, and transparency."""
    tiles = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in getattr(image, "tile", ())]
    deep = any(re.search(";16[BLN]", str(mode)) for mode, *_ in tiles)
    deep |= image.format == "PPM" and any(int(most) > 255 for _, *rest in tiles for most in rest)
    if image.mode not in modes or deep:  # Pillow would cut 16 bits to 8
        advice = "take --data.colour rgb" if image.mode in _COLOURS else "convert it to 8 bits per channel"
        raise InputError(f"{file} has pixels of Pillow's mode {image.mode}, not grey or RGB of 8 bits; {advice}")
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # a photograph with a preview, in this order
        raise InputError(f"{file} has {pages} pages or frames; save each page as a file of its own")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        raise InputError(f"{file} has transparent pixels, which have no colour; save it with a background instead")


def fitted(image: np.ndarray, data: Data, where: str) -> np.ndarray:
    """Apply `data.size` and `data.colour` to an image [H, W] or [H, W, C].

    Raises:
        InputError: colours are neither one nor three channels.
    """
    from PIL import Image, ImageOps

    if data.size is None and data.colour is None:
        return image
    pixels, dtype = image[..., None] if image.ndim == 2 else image, image.dtype
    if data.colour is not None and pixels.shape[2] not in (1, 3):
        raise InputError(f"{where} have {pixels.shape[2]} channels; data.colour takes images of 1 or 3 channels")
    if data.colour == "grey" and pixels.shape[2] == 3:
        pixels = np.float32(pixels) @ _LUMA[:, None]
        pixels = np.rint(pixels).astype(np.uint8) if dtype == np.uint8 else pixels
    if data.size is not None and pixels.shape[:2] != (data.size, data.size):
        plain = np.ascontiguousarray(np.moveaxis(pixels, -1, 0), None if dtype == np.uint8 else np.float32)
        square, method = (data.size, data.size), Image.Resampling.BILINEAR
        pixels = np.stack([ImageOps.fit(Image.fromarray(each), square, method) for each in plain], axis=-1)
    if data.colour == "rgb" and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return pixels.astype(dtype, copy=False)


def all_fitted(images: Shards, data: Data, where: str) -> Shards:
    """Apply `data.size` and `data.colour` to images [N, H, W, C]; images that need no change stay where they are.

    Raises:
        InputError: the examples are vectors, or a copy does not fit in memory.
    """
    if data.size is None and data.colour is None:
        return images
    if images.ndim != 4 or images.make is not None:
        raise InputError(f"{where} are vectors, or computed; data.size and data.colour are for stored images")
    first = fitted(images[0], data, where)
    if first.shape == images.shape[1:]:
        return images
    require_memory(len(images) * first.nbytes, f"{where}: to resize them", "resize them in their files")
    return Shards([np.stack([fitted(image, data, where) for piece in images.pieces() for image in piece])])
