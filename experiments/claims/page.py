"""The page of results, with the finding, the numbers and the figure of each claim."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aejax.config.files import write, write_json
from aejax.evaluation import drawing
from aejax.evaluation.drawing import draw
from aejax.training.identity import describe_machine
from claims.study import Result, Study


def write_page(
    study: Study, claims: Mapping[int, Callable[[Study], Result]], formats: Sequence[str] = ("png",)
) -> dict[str, Any]:
    """Run each experiment, and write claims.md, results.json and the figures to the workdir of the study.

    Returns the content of results.json.
    """
    results: dict[str, Any] = {"dataset": study.dataset.name, "seeds": study.seeds, "epochs": study.epochs}
    results |= {**describe_machine(), "claims": {}}
    for number, claim in claims.items():
        print(f"claim {number}", flush=True)
        result = claim(study)
        if result.figure is not None:  # existing figures may show other seeds or epochs
            draw({f"claim_{number}": result.figure}, study.workdir / "figures", formats, replace=True)
        found: dict[str, Any] = {name: getattr(result, name) for name in ("claim", "title", "method", "found")}
        found["figure"] = result.caption if result.figure is not None else None
        found["table"] = {
            row: {column: drawing.mean_and_std(each) | {"runs": each} for column, each in columns.items()}
            for row, columns in result.table.items()
        }
        results["claims"][str(number)] = found
        write_json(study.workdir / "results.json", results)
        write(study.workdir / "claims.md", page(results, formats))
    return results


def page(results: Mapping[str, Any], formats: Sequence[str] = ("png",)) -> str:
    """Return the content of claims.md for the content of results.json; figures appear in the first format."""
    seeds, name = results["seeds"], drawing.NAMES.get(results["dataset"], results["dataset"])
    spread = "one seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [
        f"# The article's claims, tried\n\nDataset: {name}; {spread}; {results['epochs']} epochs at "
        "batches of 64. BCE in nats per pixel, PSNR in dB. Images, codes and planes in figures are of seed 0. "
        f"{results['device']}, {versions}."
    ]
    for number, claim in results["claims"].items():
        columns = list(dict.fromkeys(column for row in claim["table"].values() for column in row))
        rows = [[row, *(_cell(cells.get(column)) for column in columns)] for row, cells in claim["table"].items()]
        parts.append(
            f"## {number}. {claim['title']}\n\nThe article: *{claim['claim']}.*\n\n{claim['found']}\n\n"
            f"{claim['method']}\n\n{drawing.markdown(['', *columns], rows)}"
        )
        drawn = formats[:1] if claim["figure"] else ()
        parts += [f"![{claim['figure']}](figures/claim_{number}.{form})" for form in drawn]
    return "\n\n".join(parts) + "\n"


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["mean"] is None:
        return "-"
    size = abs(figure["mean"])
    digits = 0 if size >= 1000 else 2 if size >= 10 else 3 if size >= 1 else 4
    return drawing.with_spread(figure["mean"], figure["std"] or None, f"z,.{digits}f")
