"""`aejax COMMAND ...`, and `python -m aejax COMMAND ...`: the scripts of experiments/, wherever this is installed."""

from __future__ import annotations

import runpy
import sys

from aejax.config.files import scripts_dir

COMMANDS = {
    "train": "one model, or go on with it",
    "sweep": "many models as one program",
    "evaluate": "measure a trained model",
    "explore": "a page to look at a trained model",
    "benchmark": "images per second, or what compilers make of the programs",
    "article": "the article's five models",
    "beyond": "the convolutional and variational models",
    "gallery": "models built on the extension point",
    "claims": "the article's nine claims, tested",
    "estimators": "scikit-learn's estimators and ours, side by side",
    "launch": "a command in several processes of this machine",
}


def main() -> None:
    """Run the script that the first argument names, with the others."""
    root = scripts_dir()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help"):
        lines = [f"  {command:<12}{meaning}" for command, meaning in COMMANDS.items()]
        usage = "usage: aejax COMMAND ...\n\n" + "\n".join(lines)
        print(f"{usage}\n\naejax COMMAND --help tells more. Configurations are in {root / 'configs'}.")
        sys.exit(0 if name else 2)
    if name not in COMMANDS:
        print(f"aejax: there is no command {name!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    script = root / "experiments" / f"{name}.py"
    sys.argv = [str(script), *sys.argv[2:]]
    sys.path.insert(0, str(script.parent))  # as if the script had been started itself
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
