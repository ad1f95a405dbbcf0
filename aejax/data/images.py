"""Image files of 8 bits per channel as arrays."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aejax.config import InputError
from aejax.config.checks import refusing
from aejax.config.sections import Data
from aejax.data.mapped import require_memory
from aejax.data.resizing import fitted

if TYPE_CHECKING:
    from PIL import Image

ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")  # modes of 8 bits that `data.colour` converts


def read(folder: Path, files: Mapping[str, Sequence[Path]], data: Data) -> dict[str, np.ndarray]:
    """Read the images of each part, uint8[N, H, W, 1] if all are grey, otherwise uint8[N, H, W, 3].

    `data.size` and `data.colour` change them first.

    Raises:
        InputError: a file is no image of 8 bits per channel without transparency, images differ in size, or they do not
            fit in memory.
    """
    first = files["train"][0]
    like = _read(first, data)

    def of_one_size(file: Path) -> np.ndarray:
        image = _read(file, data)
        if image.shape[:2] != like.shape[:2]:
            sizes = [f"{width}x{height}" for height, width in (image.shape[:2], like.shape[:2])]
            advice = f"resize and crop all to one size by --data.size {min(like.shape[:2])}"
            raise InputError(f"{file} is {sizes[0]} and {first} is {sizes[1]}; {advice}")
        return image

    # Memory holds each image twice: alone, and in the array of all.
    needed = 2 * like.nbytes * sum(map(len, files.values()))
    require_memory(needed, f"{folder}: to read its images", "make them smaller, or give train.npy and test.npy")
    found = {part: [of_one_size(file) for file in paths] for part, paths in files.items()}
    channels = max(1 if image.ndim == 2 else 3 for part in found.values() for image in part)
    return {
        part: np.stack([image if image.ndim == 3 else np.stack([image] * channels, axis=-1) for image in each])
        for part, each in found.items()
    }


def _read(file: Path, data: Data) -> np.ndarray:
    """Read a file as upright pixels, uint8[H, W] of a grey image or [H, W, 3]."""
    from PIL import Image

    if not file.is_file():
        raise InputError(f"{file} is no file that can be read: {'a broken link' if file.is_symlink() else 'remove it'}")
    with refusing(f"{file} cannot be read as an image"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # palettes with transparency, which we check ourselves
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            return fitted(pixels(image, file, data), data, str(file))


def pixels(image: Image.Image, file: Path | str, data: Data) -> np.ndarray:
    """Return the upright pixels of an image of Pillow, uint8[H, W] if it is grey, otherwise [H, W, 3]."""
    from PIL import ImageOps

    _require_plain(image, file, _MODES if data.colour is None else (*_MODES, *_COLOURS))
    upright = ImageOps.exif_transpose(image)
    if image.mode in ("1", "L", "LA"):
        return np.asarray(upright.convert("L"))
    colours = np.asarray(upright.convert("RGB"))
    palette_of_greys = image.mode in ("P", "PA") and (colours == colours[..., :1]).all()
    return colours[..., 0] if palette_of_greys else colours


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
