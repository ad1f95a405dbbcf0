"""The command `aejax COMMAND ...`, also `python -m aejax COMMAND ...`, which runs a script of experiments/."""

import importlib.util
import re
import sys

from aejax import signals
from aejax.config.files import scripts_dir

_FIRST = "train", "sweep", "evaluate", "explore"
"""commands that the help names before the others"""


def commands() -> dict[str, str]:
    """Return name → purpose of each script, from its docstring: "Train one autoencoder: train.py CONFIG ..."."""
    found, folder = dict.fromkeys(_FIRST, ""), scripts_dir() / "experiments"
    for script in sorted(folder.glob("*.py")):
        if purpose := re.match(rf'"""(.+): {script.stem}\.py', script.read_text(encoding="utf-8")):
            found[script.stem] = purpose[1]
    return found


def main() -> None:
    """Run the script that the first argument names with the other arguments."""
    root, known = scripts_dir(), commands()
    name = sys.argv[1].removesuffix(".py") if len(sys.argv) > 1 else ""
    if name in ("", "-h", "--help"):
        lines = [f"  {command:<12}{purpose}" for command, purpose in known.items()]
        folder = root / "configs"
        configs = ", ".join(str(path.relative_to(folder).with_suffix("")) for path in sorted(folder.rglob("*.py")))
        print("usage: aejax COMMAND ...", "\n".join(lines), f"Configurations in {folder}: {configs}", sep="\n\n")
        print("\nSee aejax COMMAND --help. Example: aejax train digits --workdir runs/digits")
        sys.exit(0 if name else 2)
    if name not in known:
        print(f"aejax: there is no command {name!r}; the commands are {', '.join(known)}", file=sys.stderr)
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
