"""Programs that train the same model by other means, as their users would write them.

Each is started by the interpreter that has its libraries, and knows nothing of aejax.
"""

from __future__ import annotations

from pathlib import Path

_PROGRAMS = {
    "plain": {
        "Keras fit": ["keras_fit.py"],
        "PyTorch": ["pytorch.py"],
        "PyTorch compiled": ["pytorch.py", "compile"],
        "Flax loop": ["flax_loop.py"],
    },
    "variational": {"Flax's example": ["flax_vae.py"]},
}


def commands(python: Path | None) -> dict[str, dict[str, list[str]]]:
    """Kind of model → name → command of each program by this interpreter; none where there is no interpreter."""
    if python is None:
        return {}
    folder = Path(__file__).parent
    return {
        kind: {name: [str(python), str(folder / script), *rest] for name, (script, *rest) in programs.items()}
        for kind, programs in _PROGRAMS.items()
    }
