"""Update the tables of the READMEs from the files in experiments/results, and the badges of the notebook."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import command_line
from aejax.config.files import write
from article import article
from benchmark import collectives, compiled, report
from gallery import IMAGES, LARGE, LAYERS, VECTORS, recovery, study
from transfer import study as transfer

_ROOT = Path(__file__).parents[1]
_RESULTS = _ROOT / "experiments" / "results"
_COMPILED = {name: (name,) for name in ("sweeps", "drivers", "batches", "augmented")}
_COMPILED |= {"compiled": ("v5e-1", "v6e-1", "gpu", "slices")}
"""table → files with its rows"""
_GREY = "gallery_mnist", "gallery_fashion_mnist", "gallery_photograph"
_SHOWN = ("v5e-1", "v6e-1", "h100", "a100"), ("deep", "denoising", "vae")
"""targets and models of the table in the main README"""
WITH_TABLES = (_ROOT / "README.md", _RESULTS / "README.md", _ROOT / "experiments" / "gallery" / "README.md")
NOTEBOOK = _ROOT / "experiments" / "colab.ipynb"


def tables() -> dict[str, str]:
    """Return each table by the name of its two markers, `<!-- name -->` and `<!-- /name -->`."""
    images, vectors = _measured("gallery_mnist", IMAGES), _measured("gallery_vectors", LAYERS + LARGE)
    counts = {table: _rows(*(f"compiled/{name}" for name in names)) for table, names in _COMPILED.items()}
    first = [row for row in counts["compiled"] if row["target"] in _SHOWN[0] and row["model"] in _SHOWN[1]]
    gpu, counted = _rows("benchmark_gpu/benchmark"), _rows("benchmark_gpu/compiled")  # of about the same commit
    compiled.add_counts(gpu, counted, "NVIDIA H100 80GB HBM3")  # the processor of an H200
    return {
        "article": article.comparison(*_read("article_mnist/results")),
        "beyond": study.compared(_measured("beyond_mnist", [model for model, *_ in study.REPORTED])),
        "gallery": study.table(images),
        "gallery compiled images": compiled.table(_rows("gallery_compiled/compiled")),
        "gallery bits": study.bits_per_pixel(_read(*(f"{folder}/discretised_logistic" for folder in _GREY))),
        "gallery rates": study.rates(images, *_read("claims_mnist/results")),
        "gallery tc": study.at_equal_divergence(_read("tc_sweep/results")[0]["members"], (16.5, 26.0)),
        "gallery layers": recovery.table(vectors, LAYERS),
        "gallery large": recovery.table(vectors, LARGE),
        "gallery sae_lens": recovery.features(_read(*(f"gallery_sae_lens/{name}" for name in VECTORS))),
        "gallery sae_lens speed": recovery.speeds(_read(*(f"gallery_sae_lens/{name}_speed*" for name in VECTORS))),
        "gallery compiled": compiled.table(_rows("gallery_vectors/compiled")),
        "benchmark": report.table(_rows("benchmark_peers/benchmark", "benchmark_vae/benchmark")),
        "compiled": compiled.table(first),
        "compiled shared": collectives.table(_rows("compiled_shared/*")),
        **{f"compiled {name}": compiled.table(rows) for name, rows in counts.items()},
        "gpu": report.text({"rows": gpu}),
        "alternatives": report.alternatives_table(_rows("benchmark/benchmark")),
        "transfer": transfer.tables(*_read("transfer_mnist/results")),
    }


def _read(*patterns: str) -> list[dict[str, Any]]:
    """Return the content of the files of results whose path, without .json, matches a pattern."""
    files = [file for pattern in patterns for file in sorted(_RESULTS.glob(f"{pattern}.json"))]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def _rows(*patterns: str) -> list[dict[str, Any]]:
    return [row for content in _read(*patterns) for row in content["rows"]]


def _measured(folder: str, models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the results of each measured model."""
    return {content["model"]: content for content in _read(*(f"{folder}/{name}" for name in models))}


def with_tables(readme: str) -> str:
    """Replace the text between the markers of each table."""
    for name, table in tables().items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        readme = re.sub(f"{begin}.*?{end}", lambda _, b=begin, t=table, e=end: f"{b}{t}\n{e}", readme, flags=re.DOTALL)
    return readme


def with_badge(text: str, title: str, repository: str) -> str:
    """Add a badge to the title in the first line, which opens the notebook of a repository in Colab.

    Colab can only open the addresses of notebooks on GitHub; other repositories get no badge.
    """
    place = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git|/)?", repository)
    colab, notebook = "https://colab.research.google.com", "blob/main/experiments/colab.ipynb"
    image = f"[![Open in Colab]({colab}/assets/colab-badge.svg)]"
    badge = f" {image}({colab}/github/{place[1]}/{notebook})" if place else ""
    return re.sub(rf"\A{re.escape(title)}.*", lambda _: title + badge, text)


def with_badges(notebook: dict[str, Any], readme: str) -> tuple[dict[str, Any], str]:
    """Add the badge of the notebook's REPOSITORY to the notebook and to the main README."""
    first, *others = notebook["cells"]
    code = "".join("".join(cell["source"]) for cell in others)
    repository = re.search(r'^REPOSITORY = "(.*?)"', code, re.MULTILINE)[1]
    first = first | {"source": [with_badge("".join(first["source"]), "# Autoencoders in JAX", repository)]}
    return notebook | {"cells": [first, *others]}, with_badge(readme, "# aejax", repository)


def main(given: list[str]) -> None:
    if given:
        command_line.usage_error("readme.py takes no arguments; it updates the READMEs with tables, and the notebook")
    for path in WITH_TABLES:
        write(path, with_tables(path.read_text(encoding="utf-8")))
    notebook, readme = with_badges(json.loads(NOTEBOOK.read_text(encoding="utf-8")), WITH_TABLES[0].read_text("utf-8"))
    write(NOTEBOOK, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    write(WITH_TABLES[0], readme)


if __name__ == "__main__":
    command_line.run(main)
