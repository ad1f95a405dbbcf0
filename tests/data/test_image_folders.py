import os
import shutil
import struct
import types
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from aejax import InputError, load_dataset


def grey(path, value=0, size=(4, 4)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def test_image_folders(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        load_dataset(str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    grey = load_dataset(str(tmp_path))
    assert grey.train.shape == (5, 5, 4, 1)
    assert sorted(map(tuple, np.concatenate([grey.train, grey.test]).reshape(6, -1))) == sorted(
        map(tuple, pixels.reshape(6, -1))
    )
    Image.new("RGB", (4, 5)).save(tmp_path / "7.png")
    assert load_dataset(str(tmp_path)).image_shape == (5, 4, 3)
    Image.new("L", (9, 9)).save(tmp_path / "8.png")
    with pytest.raises(InputError, match=r"8\.png is 9x9x3 .* --data\.size 4"):
        load_dataset(str(tmp_path))
    (tmp_path / "8.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"8\.png cannot be read"):
        load_dataset(str(tmp_path))


def test_sixteen_bits_are_refused_not_clipped(tmp_path):
    Image.fromarray(np.full((4, 4), 5000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep\.png .* 8 bits"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("train", "test"),
    [("train", "test"), ("training", "testing"), ("Train", "Test"), ("train", "val"), ("TRAIN", "Validation")],
)
def test_the_parts_are_known_by_their_usual_names(tmp_path, train, test):
    for index in range(3):
        grey(tmp_path / train / f"{index}.png", index)
    grey(tmp_path / test / "0.png", 9)
    dataset = load_dataset(tmp_path)
    assert dataset.train[:, 0, 0, 0].tolist() == [0, 1, 2] and dataset.test[:, 0, 0, 0].tolist() == [9]


def test_validation_beside_test_is_a_part_of_its_own(tmp_path, caplog):
    for part, value in (("train", 1), ("val", 2), ("test", 3)):
        grey(tmp_path / part / "0.png", value)
    dataset = load_dataset(tmp_path)
    assert dataset.validation[0, 0, 0, 0] == 2 and dataset.test[0, 0, 0, 0] == 3 and not caplog.text
    shutil.rmtree(tmp_path / "test")
    dataset = load_dataset(tmp_path)
    assert dataset.test[0, 0, 0, 0] == 2 and dataset.validation is None
    assert "the validation examples are used as test examples" in caplog.text


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/0.png", "bus/0.png"], "bus and train: are these classes or parts"),
        (["train/0.png", "0.png"], r"0\.png and train"),
        (["test/0.png", "val/0.png"], "none for training"),
        (["train/0.png", "Training/0.png"], "Training and train; keep one"),
    ],
)
def test_what_may_be_a_part_or_a_class_is_refused(tmp_path, files, message):
    for file in files:
        grey(tmp_path / file)
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path)


@pytest.mark.parametrize("parts", [("",), ("train", "test")])
def test_folders_are_classes(tmp_path, parts, caplog):
    for part in parts:
        for name, value in (("cat", 10), ("dog", 20)):
            for index in range(4):
                grey(tmp_path / part / name / f"{index}.png", value)
                (tmp_path / part / name / f"{index}.txt").touch()
    dataset = load_dataset(tmp_path)
    for images, labels in ((dataset.train, dataset.train_labels), (dataset.test, dataset.test_labels)):
        assert [{"cat": 10, "dog": 20}[label] for label in labels] == images[:, 0, 0, 0].tolist()
    first = Path(sorted(parts)[0], "cat")
    assert caplog.messages[0].startswith(f"{tmp_path}: left out: {first / '0.txt'}, {first / '1.txt'}, ")
    assert len(caplog.messages) == 1 and caplog.messages[0].endswith(f"and {8 * len(parts) - 3} more")


def test_links_are_followed_but_not_in_circles(tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "images"
    for index in range(3):
        grey(elsewhere / f"{index}.png", 5)
        grey(folder / "cat" / f"{index}.png", 6)
    (folder / "dog").symlink_to(elsewhere)
    (folder / "cat" / "again").symlink_to(folder)
    dataset = load_dataset(folder)
    assert sorted([*dataset.train[:, 0, 0, 0], *dataset.test[:, 0, 0, 0]]) == [5, 5, 5, 6, 6, 6]
    (folder / "cat" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match=r"lost\.png .* broken link"):
        load_dataset(folder)


def test_what_other_programs_leave_is_no_data(tmp_path):
    for index in range(3):
        grey(tmp_path / f"{index}.png")
    grey(tmp_path / ".ipynb_checkpoints" / "0-checkpoint.png")
    grey(tmp_path / "__MACOSX" / "0.png")
    (tmp_path / "._0.png").write_bytes(b"Mac OS X")
    (tmp_path / ".DS_Store").write_bytes(b"Bud1")
    dataset = load_dataset(tmp_path)
    assert len(dataset.train) + len(dataset.test) == 3


def test_photographs_are_turned_as_their_camera_says(tmp_path):
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    turned = Image.fromarray(np.rot90(upright))  # as a camera that was held sideways stores it
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "0.png", exif=exif)
    Image.fromarray(upright).save(tmp_path / "1.png")
    dataset = load_dataset(tmp_path)
    assert np.array_equal(dataset.train[0], dataset.test[0]) and np.array_equal(dataset.test[0, ..., 0], upright)


def test_channels_first_is_for_arrays_only(tmp_path):
    for index in range(2):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / f"{index}.png")
    with pytest.raises(InputError, match=r"data\.channels is 'first'; .* auto or last for image files, as in"):
        load_dataset(tmp_path, channels="first")
    with pytest.raises(InputError, match=r"data\.channels is 'first'; .* auto or last for the images of mnist"):
        load_dataset("mnist", channels="first")
    assert load_dataset("digits", channels="first").image_shape == (8, 8, 1)  # [N, H, W] has no axis of channels


def palette(colours):
    image = Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4) % 2, "P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def test_a_palette_of_greys_is_grey(tmp_path):
    for index in range(2):
        palette([(0, 0, 0), (90, 90, 90)]).save(tmp_path / f"{index}.png")
    assert load_dataset(tmp_path).train.shape == (1, 4, 4, 1) and load_dataset(tmp_path).train.max() == 90
    palette([(0, 0, 0), (90, 0, 0)]).save(tmp_path / "2.png")
    assert load_dataset(tmp_path).image_shape == (4, 4, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_refused_unless_it_hides_nothing(tmp_path, mode):
    def save(alpha, name):
        if mode == "P":
            palette([(0, 0, 0), (90, 90, 90)]).save(tmp_path / name, transparency=bytes([alpha, 255]))
        else:
            Image.new(mode, (4, 4), (7,) * (len(mode) - 1) + (alpha,)).save(tmp_path / name)

    save(255, "0.png")
    save(255, "1.png")
    assert len(load_dataset(tmp_path).train) == 1
    save(254, "2.png")
    with pytest.raises(InputError, match=r"2\.png has transparent pixels"):
        load_dataset(tmp_path)


def test_several_pages_are_refused(tmp_path):
    pages = [Image.new("L", (4, 4), value) for value in (1, 2, 3)]
    for name in ("0.tif", "0.gif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        with pytest.raises(InputError, match="has 3 pages or frames"):
            load_dataset(tmp_path)
        (tmp_path / name).unlink()


def sixteen_bit_png(channels):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 2, 2, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + b"\x12\x34" * channels * 2 for _ in range(2))
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


@pytest.mark.parametrize(
    ("name", "content"),
    [(f"{channels}.png", sixteen_bit_png(channels)) for channels in (1, 2, 3, 4)]
    + [("p5.pgm", b"P5\n2 2\n65535\n" + bytes(8)), ("p6.ppm", b"P6\n2 2\n65535\n" + bytes(24))],
)
def test_more_than_eight_bits_are_refused_not_cut(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} .* 8 bits per channel"):
        load_dataset(tmp_path)


def test_what_cannot_be_decoded_is_one_line(tmp_path, monkeypatch):
    for name, content in (("0.pgm", b"P5\nx 2\n255\n1234"), ("0.png", b"\x89PNG\r\n\x1a\n"), ("0.ppm", b"P6 1")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"{name} cannot be read as an image: [^\n]+$"):
            load_dataset(tmp_path)
        (tmp_path / name).unlink()
    os.mkfifo(tmp_path / "pipe.png")  # to open it would wait for ever
    with pytest.raises(InputError, match=r"pipe\.png is no file"):
        load_dataset(tmp_path)
    (tmp_path / "pipe.png").unlink()
    grey(tmp_path / "bomb.png", size=(64, 64))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)  # twice as many are an error, a few more a warning
    with pytest.raises(InputError, match=r"bomb\.png cannot be read"):
        load_dataset(tmp_path)


def test_more_than_memory_holds_is_refused_before_it_is_read(tmp_path, monkeypatch):
    for index in range(3):
        grey(tmp_path / f"{index}.png", size=(50, 40))
    (tmp_path / "1.png").write_bytes(b"not reached")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=11_999))
    with pytest.raises(InputError, match=r"to read its images, 0\.0 GB are needed"):
        load_dataset(tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=12_000))
    with pytest.raises(InputError, match=r"1\.png cannot be read"):
        load_dataset(tmp_path)
