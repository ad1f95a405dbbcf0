"""The command `aejax COMMAND ...`, also `python -m aejax COMMAND ...`, which runs a script of experiments/."""

from __future__ import annotations

import runpy
import sys

from aejax.config.files import scripts_dir

COMMANDS = {
    "train": "train one model, or resume its training",
    "sweep": "train many models as one program",
    "evaluate": "measure a trained model",
    "explore": "write a web page to explore a trained model",
    "benchmark": "measure images per second, or compile the programs for other devices",
    "article": "train the article's five models",
    "beyond": "train the convolutional and variational models",
    "gallery": "train the gallery of custom models",
    "claims": "test the article's nine claims",
    "transfer": "start from another run: other images, and more of them",
    "estimators": "compare our estimators with those of scikit-learn",
    "launch": "run a command in several processes on this machine",
}


def main() -> None:
    """Run the script that the first argument names with the other arguments."""
    root = scripts_dir()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help"):
        lines = [f"  {command:<12}{meaning}" for command, meaning in COMMANDS.items()]
        usage = "usage: aejax COMMAND ...\n\n" + "\n".join(lines)
        print(f"{usage}\n\nSee aejax COMMAND --help. The configurations are in {root / 'configs'}.")
        sys.exit(0 if name else 2)
    if name not in COMMANDS:
        print(f"aejax: there is no command {name!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    script = root / "experiments" / f"{name}.py"
    sys.argv = [str(script), *sys.argv[2:]]
    sys.path.insert(0, str(script.parent))  # as Python does for a script that it starts
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
