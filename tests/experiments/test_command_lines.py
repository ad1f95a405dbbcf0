"""Whatever a user types ends with one line and one of four exit codes, and writes nothing where it should not."""

import itertools
import os
import shlex
from pathlib import Path

import pytest
from command_lines import lines, workspace


@pytest.fixture(scope="module")
def typed(tmp_path_factory, forks):
    """Run a command line in the workspace: its exit code, and what it printed on both streams."""
    folder = tmp_path_factory.mktemp("typed") / "here"
    folder.mkdir()
    workspace(folder)
    environment = {**os.environ, "HOME": str(folder / "home")}

    def run(script, *arguments):
        done = forks(script, arguments, folder, environment, 100)
        return done.returncode, done.stdout, done.stderr

    return folder, run


def contents(folder):
    """Path → content of every file, and None for a folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def allowed(folder, given):
    """Where a command line may write."""
    named = [value for flag, value in itertools.pairwise(given) if flag in ("--workdir", "--json")]
    places = [Path(value.replace("~", str(folder / "home"), 1) if value.startswith("~/") else value) for value in named]
    return [folder / "runs", folder / "run" / "evaluation.json", *(folder / place for place in places)]


@pytest.mark.parametrize(("seed", "count"), [(11792, 6), pytest.param(40, 40, marks=pytest.mark.long)])
def test_whatever_is_typed_ends_with_one_line(typed, longest, seed, count):
    folder, run = typed
    wrong, codes = [], {}
    seed, count = (600, 600) if longest and count == 40 else (seed, count)
    for given in lines(seed, count):
        before = contents(folder)
        code, shown, said = run(*given)
        codes[code] = codes.get(code, 0) + 1
        after = contents(folder)
        changed = [path for path in {**before, **after} if before.get(path, 0) != after.get(path, 0)]
        places = allowed(folder, given) if code != 2 else []
        strays = [
            path for path in changed if not any(path.is_relative_to(at) or at.is_relative_to(path) for at in places)
        ]
        complaints = [line for line in said.splitlines() if not line.startswith(("WARNING:", "process 1 of 2"))]
        one_line = len(complaints) == 1 and complaints[0].startswith(f"{given[0]}: ") if code else not complaints
        if given[0] == "launch.py":
            one_line = len(complaints) >= 1
        if code not in (0, 1, 2, 75) or "Traceback" in said + shown or not one_line or strays:
            wrong.append(f"{shlex.join(given)}\n  {code}: {said[-600:]}\n  {[str(path) for path in strays]}")
    assert not wrong, "\n".join([f"{len(wrong)} of {count}", *wrong])
    assert {0, 1, 2} <= set(codes), codes
    print(codes)
