"""Run the notebook as a user of Colab does, and keep its outputs: PYTHON tests/run_notebook.py [FILE]

PYTHON is the interpreter of an environment like that of Colab: jax, flax, optax, orbax-checkpoint, numpy, pillow,
scikit-learn, matplotlib, tqdm, psutil, ipykernel, nbclient. The notebook itself installs the other packages. The code
comes from an archive of the last commit, in an empty folder. The outputs go to FILE, by default to the notebook itself.
"""

import base64
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "experiments" / "colab.ipynb"


def smaller(png: str) -> str:
    """Return a PNG with a palette of at most 256 colours, both in base64."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def main(path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "archive", "-o", f"{folder}/aejax.zip", "HEAD"], cwd=ROOT, check=True)
        client = nbclient.NotebookClient(
            notebook, timeout=None, coalesce_streams=True, resources={"metadata": {"path": folder}}
        )
        client.execute()
    content = json.loads(nbformat.writes(notebook)) | {
        "metadata": json.loads(NOTEBOOK.read_text(encoding="utf-8"))["metadata"]
    }
    for cell in content["cells"]:
        cell["metadata"] = {}
        for output in cell.get("outputs", ()):
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = smaller("".join(output["data"]["image/png"]))
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK)
