"""Whether two checkouts compute the same: python tests/compare_programs.py BEFORE [AFTER]

Each trains the same small models in a process of its own, by nothing but `aejax.fit`. Compared are the programs that
XLA made (HLO text without names and metadata) and the final parameters, bit for bit.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

MODELS = {
    "deep": {},
    "denoising": {"corruption.kind": "gaussian", "coefficients.noise": 0.4},
    "sparse": {"model.hidden": [], "coefficients.l1": 3.2e-4},
    "convolutional": {"model.hidden": [], "model.channels": [8], "model.spatial_code": True, "model.code_size": 128},
    "variational": {"model.kind": "variational", "loss.pixels": "sum", "data.binarize": True},
}

_TRAIN = """
import hashlib, json, sys
import jax, numpy as np
import aejax
random = np.random.default_rng(0)
images = (random.random((448, 16, 16, 1)) ** 4 * 255).astype(np.uint8)
config = aejax.Config().replace({"training.epochs": 2} | json.loads(sys.argv[1]))
run = aejax.fit(config, dataset=aejax.Dataset("random", images[:384], images[384:]), progress=False)
digest = hashlib.sha256()
for leaf in jax.tree.leaves(run.state.params):
    digest.update(np.asarray(leaf).tobytes())
print(aejax.__file__)
print(digest.hexdigest())
"""


def normalised(hlo: str) -> str:
    """The text of a program without what does not change what it computes: names, metadata, the frames of sources."""
    hlo = re.sub(r"^HloModule [^,\n]*", "HloModule", hlo)
    hlo = re.sub(r", metadata=\{[^}]*\}", "", hlo)
    hlo = re.sub(r"(?ms)^(FileNames|FunctionNames|FileLocations|StackFrames)$.*?(?=^$|\Z)", "", hlo)
    hlo = re.sub(r"(?<=[(,] )[\w.\-]+(?=: \(?\w+\[)|(?<=\()[\w.\-]+(?=: \(?\w+\[)", "_", hlo)  # of parameters, in heads
    names: dict[str, str] = {}
    return re.sub(r"%[\w.\-]+", lambda name: names.setdefault(name[0], f"%{len(names)}"), hlo)


def outcome(checkout: Path, changes: dict) -> tuple[str, Counter]:
    """The digest of the final parameters, and how often each program was compiled."""
    with tempfile.TemporaryDirectory() as dump:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMPILATION")}
        environment |= {"PYTHONPATH": str(checkout), "XLA_FLAGS": f"--xla_dump_to={dump} --xla_dump_hlo_as_text"}
        done = subprocess.run(
            [sys.executable, "-c", _TRAIN, json.dumps(changes)],
            env=environment, cwd=dump, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        place, parameters = done.stdout.split()
        if not Path(place).is_relative_to(checkout):
            raise SystemExit(f"{place} was imported, not {checkout}")
        texts = [normalised(file.read_text()) for file in Path(dump).glob("*after_optimizations.txt")]
    return parameters, Counter(hashlib.sha256(text.encode()).hexdigest() for text in texts)


def main(before: Path, after: Path) -> int:
    """Print a line for each model; 0 where all is the same."""
    differs = 0
    for model, changes in MODELS.items():
        (old, programs), (new, others) = (outcome(checkout.resolve(), changes) for checkout in (before, after))
        gone, come = (programs - others).total(), (others - programs).total()
        same = old == new and not gone and not come
        differs |= not same
        said = "the same" if same else f"parameters {'the same' if old == new else 'differ'}, {gone} gone, {come} new"
        print(f"{model}: {programs.total()} programs, {said}", flush=True)
    return differs


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(*sys.argv[2:3] or [Path(__file__).parents[1]])))
