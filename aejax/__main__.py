"""The command `aejax COMMAND ...`, also `python -m aejax COMMAND ...`, which runs a script of experiments/."""

import importlib.util
import sys

from aejax import signals
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
    name = sys.argv[1].removesuffix(".py") if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help"):
        lines = [f"  {command:<12}{meaning}" for command, meaning in COMMANDS.items()]
        folder = root / "configs"
        known = ", ".join(str(path.relative_to(folder).with_suffix("")) for path in sorted(folder.rglob("*.py")))
        print("usage: aejax COMMAND ...", "\n".join(lines), f"Configurations in {folder}: {known}", sep="\n\n")
        print("\nSee aejax COMMAND --help. Example: aejax train digits --workdir runs/digits")
        sys.exit(0 if name else 2)
    if name not in COMMANDS:
        print(f"aejax: there is no command {name!r}; the commands are {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    script = root / "experiments" / f"{name}.py"
    sys.argv = [f"aejax {name}", *sys.argv[2:]]  # the name of the program in usage and errors
    sys.path.insert(0, str(script.parent))  # as Python does for a script that it starts
    signals.install()  # before slow imports
    described = importlib.util.spec_from_file_location(f"aejax_{name}", script)
    module = sys.modules[described.name] = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    importlib.import_module("command_line").run(module.main)


if __name__ == "__main__":
    main()
