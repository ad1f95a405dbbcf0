import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from aejax import Dataset, InputError, fit
from aejax.models import corruption
from aejax.models.randomness import stream
from aejax.training.step import Batch
from runs import compiled_steps, traced

augment = jax.jit(corruption.augment, static_argnums=0)
KEY = stream(0, "augmentation")
EXAMPLES = jnp.arange(200)
IMAGES = np.random.default_rng(0).random((200, 9, 7, 2)).astype(np.float32)


def shifted(image, down, right, most=3):
    padded = np.pad(image, ((most, most), (most, most), (0, 0)))
    return padded[most - down : most - down + 9, most - right : most - right + 7]


def test_a_shift_moves_whole_pixels_evenly_in_each_direction():
    made = np.asarray(augment(("shift",), KEY, EXAMPLES, IMAGES, {"shift": jnp.float32(2)}))
    moves = collections.Counter()
    for image, result in zip(IMAGES, made, strict=True):
        places = [(a, b) for a in range(-2, 3) for b in range(-2, 3) if np.array_equal(shifted(image, a, b), result)]
        assert len(places) == 1
        moves.update(places)
    assert len(moves) == 25 and max(moves.values()) < 25
    assert np.array_equal(augment(("shift",), KEY, EXAMPLES, IMAGES, {"shift": jnp.float32(0)}), IMAGES)


def test_a_flip_exchanges_left_and_right_of_half_the_images():
    made = np.asarray(augment(("flip",), KEY, EXAMPLES, IMAGES, {}))
    flipped = [np.array_equal(result, image[:, ::-1]) for image, result in zip(IMAGES, made, strict=True)]
    kept = [np.array_equal(result, image) for image, result in zip(IMAGES, made, strict=True)]
    assert np.logical_xor(flipped, kept).all() and 70 < sum(flipped) < 130


def test_a_crop_enlarges_a_window_by_bilinear_interpolation():
    """Ramps tell the window of each image; Pillow enlarges the same window."""
    given = np.concatenate([IMAGES, np.zeros_like(IMAGES)], axis=-1)
    given[..., 2], given[..., 3] = np.arange(9)[:, None] / 10, np.arange(7) / 10
    made = np.asarray(augment(("crop",), KEY, EXAMPLES, given, {"crop": jnp.float32(0.6)}), np.float64)
    rows, columns = 10 * made[:, :, 3, 2], 10 * made[:, 4, :, 3]  # place of each pixel; the middle is not cut
    shares = rows[:, 5] - rows[:, 4]
    assert 0.6 <= shares.min() + 1e-5 < 0.62 and 0.98 < shares.max() < 1 + 1e-5
    tops, lefts = rows[:, 4] - 4.5 * shares + 0.5, columns[:, 3] - 3.5 * shares + 0.5
    assert tops.min() > -1e-4 and (tops + 9 * shares).max() < 9 + 1e-4
    for image, result, share, top, left in zip(given, made, shares, tops, lefts, strict=True):
        box = np.clip((left, top, left + 7 * share, top + 9 * share), 0, (7, 9, 7, 9)).tolist()
        expected = Image.fromarray(image[..., 0]).resize((7, 9), Image.Resampling.BILINEAR, box=box)
        assert np.allclose(result[..., 0], expected, atol=1e-4)


def test_the_draws_of_an_example_depend_on_neither_its_batch_nor_the_other_kinds():
    coefficients = {"shift": jnp.float32(2), "crop": jnp.float32(0.6)}
    every = ("shift", "flip", "crop")
    whole, order = augment(every, KEY, EXAMPLES, IMAGES, coefficients), np.random.default_rng(0).permutation(200)[:17]
    assert np.allclose(augment(every, KEY, EXAMPLES[order], IMAGES[order], coefficients), whole[order], atol=1e-6)
    assert not np.allclose(augment(every, jax.random.fold_in(KEY, 1), EXAMPLES, IMAGES, coefficients), whole)
    flipped = augment(("flip",), KEY, EXAMPLES, IMAGES, {})
    both = augment(("shift", "flip"), KEY, EXAMPLES, IMAGES, {"shift": jnp.float32(0)})
    assert np.array_equal(both, flipped)


def test_input_and_target_are_augmented_in_training_alone(small):
    config, dataset = small[0].replace({"data.augmentation": ["shift"], "coefficients.shift": 1}), small[1]
    plain = small[0]
    batch = Batch(jnp.asarray(dataset.train[:16]), jnp.arange(16))
    found = {}
    for name, each in {"on": config, "off": plain}.items():
        steps = compiled_steps(each, dataset.image_shape)
        state, values = steps.init(), traced(each)
        found[name] = steps.alone(state, batch, values)[1]["total"], steps.evaluate(state, batch, values)[0]["total"]
        if name == "off":
            key = jax.random.fold_in(stream(0, "augmentation"), 0)
            images = augment(
                ("shift",), key, batch.examples, batch.images / jnp.float32(255), {"shift": jnp.float32(1)}
            )
            moved = steps.alone(state, batch._replace(images=images), values)[1]["total"]
    assert np.array_equal(found["on"][1], found["off"][1])
    assert found["on"][0] != found["off"][0] and np.isclose(found["on"][0], moved, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.augmentation": ["turn"]}, "must be some of shift, flip, crop, each once"),
        ({"data.augmentation": ["flip", "flip"]}, "each once"),
        ({"data.augmentation": ["shift"], "coefficients.shift": 1.5}, r"shift is 1\.5; .* whole number of pixels"),
        ({"data.augmentation": ["shift"], "coefficients.shift": 5}, r"must be at most 4 for images of 6x5x1"),
        ({"data.augmentation": ["crop"], "coefficients.crop": 0}, r"crop is 0; it must be a share"),
        ({"coefficients.shift": 1}, r"shift is declared by data\.augmentation shift: set data\.augmentation"),
    ],
)
def test_augmentations_that_are_refused(small, changes, message):
    with pytest.raises(InputError, match=message):
        fit(small[0].replace(changes), dataset=small[1], progress=False)


def test_only_images_that_are_their_own_targets_are_augmented(small):
    config, images = small[0].replace({"data.augmentation": ["flip"]}), small[1].train
    with pytest.raises(InputError, match=r"holds vectors .*; data\.augmentation needs images"):
        fit(config, dataset=images.reshape(80, -1), progress=False)
    targets = Dataset.from_arrays(images, images[:9], train_targets=images, test_targets=images[:9])
    with pytest.raises(InputError, match=r"data\.augmentation is set, and .* has targets"):
        fit(config, dataset=targets, progress=False)


def test_a_tpu_computes_the_same_by_sums():
    coefficients = {"shift": jnp.float32(2), "crop": jnp.float32(0.6)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corruption, "_products", corruption._sums)
        sums = jax.jit(lambda: corruption.augment(("shift", "crop"), KEY, EXAMPLES, IMAGES, coefficients))()
    assert np.allclose(sums, augment(("shift", "crop"), KEY, EXAMPLES, IMAGES, coefficients), atol=1e-6)
