"""The page of a model, in a browser: the same numbers as here, no complaint, by keyboard and on a narrow screen."""

import json
from pathlib import Path

import numpy as np
import pytest
from browser import FOUND, browser

from aejax import Config, Dataset, load_config
from explore import write_page
from runs import untrained

ROOT = Path(__file__).parents[2]
RANDOM = np.random.default_rng(0)
KINDS = {
    "dense": {"model.hidden": [12], "model.activation": "elu"},
    "tied": {"model.hidden": [12], "model.tied": True, "model.activation": "tanh"},
    "largest": {"model.hidden": [], "model.top_k": 3, "model.code_activation": "identity"},
    "convolutional": {"model.channels": [3, 4], "model.hidden": [10], "model.activation": "gelu"},
    "spatial": {"model.channels": [3], "model.hidden": [], "model.spatial_code": True, "model.activation": "silu"},
    "variational": {"model.kind": "variational", "loss.pixels": "sum"},
    "squared": {"loss.reconstruction": "mse", "model.code_activation": "sigmoid", "model.hidden": []},
    "denoising": {"corruption.kind": "gaussian", "coefficients.noise": 0.4},
    "two": {"model.code_size": 2, "model.code_activation": "identity"},
}


def made(images, changes, name="images"):
    dataset = Dataset.from_arrays(images, images[:30], test_labels=np.arange(30) % 3, name=name)
    return untrained(Config().replace({"model.code_size": 12, **changes}), dataset), dataset


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    if FOUND is None:
        pytest.skip("there is no Chromium here")
    with browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


def shown(browser, canvas):
    """The grey levels of a canvas."""
    return browser.run(
        f"(() => {{ const c = document.getElementById('{canvas}');"
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 4 === 0); })()"
    )


def call(browser, name, row):
    return np.array(browser.run(f"[...aejax.{name}({json.dumps(np.asarray(row).ravel().tolist())})]"), np.float32)


DEFAULT = ("denoising", "two")  # a corruption and a plane; the others by --long


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.long] * (kind not in DEFAULT)) for kind in KINDS]
)
def test_the_model_in_the_page_is_the_model(kind, opened, tmp_path):
    images = RANDOM.random((40, 9, 7, 1)).astype(np.float32)
    run, dataset = made(images, KINDS[kind])
    assert write_page(run, dataset, tmp_path / "page.html") == 30
    opened.open(tmp_path / "page.html")
    for image in images[:3]:
        code = run.encode(image[None])
        assert np.abs(call(opened, "encode", image) - code[0]).max() < 1e-4
        assert np.abs(call(opened, "decode", code) - run.decode(code).ravel()).max() < 1e-4
    assert opened.complaints == []
    cells = opened.run("document.querySelectorAll('#gallery button').length")
    assert cells == 20 and opened.run("document.querySelectorAll('#gallery button:first-child canvas').length") == (
        3 if kind == "denoising" else 2
    )
    assert opened.run("document.getElementById('plane-title').textContent").startswith(
        "The plane of the code: its two " + ("units" if kind == "two" else "principal components")
    )
    axes = [opened.run(f"document.getElementById('{axis}').textContent") for axis in ("horizontal", "vertical")]
    names = ("unit 0: ", "unit 1: ") if kind == "two" else ("principal component 1, ", "principal component 2, ")
    assert all(text.startswith(name) and " to " in text for text, name in zip(axes, names, strict=True))
    assert opened.run("document.getElementById('code-facts').textContent").startswith("Over the 30 test images of")


@pytest.fixture(scope="module")
def page(opened, tmp_path_factory):
    images = RANDOM.random((40, 9, 7, 1)).astype(np.float32)
    run, dataset = made(images, {"model.code_size": 5}, name="</script><img src=x onerror=alert(1)>")
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(run, dataset, path)
    return run, dataset, path


def test_the_name_of_the_images_is_text(page, opened):
    opened.open(page[2])
    assert opened.run("document.querySelector('h1').textContent").endswith("on </script><img src=x onerror=alert(1)>")
    assert opened.run("document.querySelectorAll('img').length") == 0 and opened.complaints == []


@pytest.mark.parametrize("width", [400, 1000])
def test_it_is_used_by_keyboard_and_by_pointer(page, opened, width):
    run, dataset, path = page
    opened.open(path, width)
    assert opened.run("document.documentElement.scrollWidth") <= width
    codes = run.encode(dataset.test)
    unit = int(np.argmax(codes.std(axis=0)))
    before = shown(opened, "decoded")
    assert np.abs(np.array(before) - 255 * run.decode(codes[:1]).ravel()).max() < 2
    opened.run("document.querySelector('#sliders input').focus()")
    opened.press("End")
    codes[0, unit] = codes[:, unit].max()
    assert shown(opened, "decoded") != before
    assert np.abs(np.array(shown(opened, "decoded")) - 255 * run.decode(codes[:1]).ravel()).max() < 2
    opened.run("document.getElementById('next').focus()")
    opened.press("Enter", "\r")
    assert opened.run("document.getElementById('place').textContent") == "2 of 2"
    opened.run("document.getElementById('points').focus()")
    opened.press("ArrowRight")
    assert opened.run("document.getElementById('point-caption').textContent") == "test image 1, class 1"
    opened.press("Enter", "\r")
    assert np.abs(np.array(shown(opened, "decoded")) - 255 * run.reconstruct(dataset.test[1:2]).ravel()).max() < 2
    assert max(shown(opened, "drawn")) == 0
    opened.run("document.getElementById('pad').focus()")
    for key in (" ", "ArrowRight", "ArrowDown"):
        opened.press(key)
    inked = np.float32(shown(opened, "drawn")) / 255
    assert 0 < inked.sum() < 20
    answer = run.reconstruct(inked.reshape(1, 9, 7, 1)).ravel()
    assert np.abs(np.array(shown(opened, "answer")) - 255 * answer).max() < 3
    opened.run("document.getElementById('clear').click(); document.getElementById('pad').scrollIntoView()")
    left, top, wide, high = opened.run(
        "(() => { const r = document.getElementById('pad').getBoundingClientRect();"
        "return [r.left, r.top, r.width, r.height]; })()"
    )
    opened.mouse("mousePressed", left + 0.3 * wide, top + 0.3 * high, 1)
    opened.mouse("mouseMoved", left + 0.6 * wide, top + 0.6 * high, 1)
    opened.mouse("mouseReleased", left + 0.6 * wide, top + 0.6 * high)
    assert max(shown(opened, "drawn")) > 200 and opened.complaints == []


def test_errors_are_sorted(page, opened):
    run, dataset, path = page
    opened.open(path)
    opened.run("const s = document.getElementById('order'); s.value = 'worst'; s.dispatchEvent(new Event('change'))")
    found = opened.run("[...document.querySelectorAll('#gallery button')].map((b) => Number(b.textContent))")
    p, target = run.reconstruct(dataset.test).astype(np.float64), dataset.test
    bce = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean(axis=(1, 2, 3))
    assert np.allclose(found, sorted(bce, reverse=True)[:20], atol=1e-4)


@pytest.mark.long
def test_the_article_s_models_make_small_pages(tmp_path):
    images = RANDOM.integers(0, 256, (600, 28, 28), dtype=np.uint8)
    dataset = Dataset.from_arrays(images, images)
    run = untrained(load_config(ROOT / "configs" / "mnist" / "denoising.py"), dataset)
    assert write_page(run, dataset, tmp_path / "page.html") == 500
    assert (tmp_path / "page.html").stat().st_size < 5e6


@pytest.mark.long
def test_a_model_of_its_author_s_is_shown_without_a_live_decoder(opened, tmp_path):
    (tmp_path / "own.py").write_text(
        "import aejax\nclass Own(aejax.Autoencoder):\n"
        "    def encode(self, images):\n        return 2 * super().encode(images)\n"
    )
    images = RANDOM.random((40, 9, 7, 3)).astype(np.float32)
    run, dataset = made(images, {"model.kind": f"{tmp_path}/own.py:Own"})
    write_page(run, dataset, tmp_path / "page.html", plane="tsne")
    opened.open(tmp_path / "page.html")
    assert opened.run("document.getElementById('live').hidden && document.getElementById('drawing').hidden")
    assert opened.run("document.querySelectorAll('#gallery button').length") == 20 and opened.complaints == []


def test_the_script_writes_it(script, tmp_path):
    run, _ = made(RANDOM.random((40, 9, 7)).astype(np.float32), {})
    run.save(tmp_path / "run")
    made(RANDOM.random((40, 9, 7)).astype(np.float32), KINDS["two"])[0].save(tmp_path / "two")
    np.savez(tmp_path / "images.npz", train=RANDOM.random((20, 9, 7)), test=RANDOM.random((20, 9, 7)))
    done = script("explore.py", tmp_path / "run", "--dataset", tmp_path / "images.npz", "--images", "15")
    assert done.returncode == 0 and "explore.html: 15 images" in done.stdout, done.stderr
    for arguments, line in (
        ([tmp_path], "holds no run"),
        ([tmp_path / "run", "--images", "1"], "images is 1; it must be at least 2"),
        ([tmp_path / "two", "--dataset", tmp_path / "images.npz", "--plane", "tsne"], "a code of 2 units has a plane"),
        ([tmp_path / "run", "--output", tmp_path / "nowhere" / "page.html"], "nowhere does not exist"),
    ):
        done = script("explore.py", *arguments)
        assert done.returncode == 1 and line in done.stderr and len(done.stderr.splitlines()) == 1
