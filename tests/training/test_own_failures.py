"""A model of the user's own that fails: one line of its author's own frames, and nothing written."""

import re
import sys

import pytest
from flax import nnx

import aejax
import command_line
from aejax.config import user_files

HEAD = """import aejax, jax.numpy as jnp
class Stop(BaseException): pass
def helper(): return 1 / 0
class M(aejax.Autoencoder):
    def """
FAILS = {
    "__init__(self, *given): helper()": r"line 5 in __init__, line 3 in helper: ZeroDivisionError",
    "__init__(self, *given): self.mine = 1": (
        r"line 5 in __init__: AttributeError: encoder is missing: __init__ must first call super\(\)\.__init__\(config"
    ),
    "__init__(self, config, shape, rngs): super().__init__(config, shape)": (
        r"line 5 in __init__: TypeError: .*'rngs': call super\(\)\.__init__\(config, image_shape, rngs\)"
    ),
    "__init__(self, *given): super().__init__(*given); self.mask = jnp.ones(3)": (
        r"\(line 5\): the attribute mask of M is an array; write self\.mask = aejax\.frozen"
    ),
    "loss(self, clean, *given): return {} if clean.mean() > 0 else 1": "line 5 in loss: .*instead of `if`, use jnp",
    "loss(self, clean, *given): return {'mine': clean}": (
        r"the term mine of .*fails\.py:M \(line 5\) has shape \[32, 8, 8, 1\]; it must be \[32\], one value per"
    ),
    "__init__(self, *given): raise SystemExit(0)": "line 5 in __init__: SystemExit: 0",
    "__init__(self, *given): raise Stop('so')": "line 5 in __init__: Stop: so",
    "encode(self, images): return images @ jnp.ones((3, 4))": "line 5 in encode: TypeError",
    "encode(self, images): raise OSError(2, 'none')": "line 5 in encode: FileNotFoundError",
    "encode(self, images): return self.encode(images)": r"\.\.\. \d+ more \.\.\..*RecursionError",
    "encode(self): return 0": r"fails\.py, line 5 in encode: TypeError: M\.encode\(\) takes 1 positional",
    "loss(self, clean): return 0": r"fails\.py, line 5 in loss: TypeError: M\.loss\(\) takes 2 positional",
    "__call__(self, images, context): return images": r"returns an array; it must return an aejax\.Output",
    "__call__(self, *given): return super().__call__(*given)._replace(codes=None)": "codes of .* is a NoneType",
    "__call__(self, images, context): return super().__call__(images, context if context.training else helper())": (
        "line 5 in __call__, line 3 in helper: ZeroDivisionError"
    ),
    "decode(self, codes): return super().decode(codes)[:, :2]": r"logits of .* has shape \[32, 2, 8, 1\]",
    "metrics(self, *given): return {}\n    coefficients = {'mispelled': 1.0}": (
        r"declares the coefficient mispelled, and training does not use it"
    ),
    "loss(self, *given): return super().loss(*given) | {'mine': 'abc'}": "mine of .* is a str",
    "loss(self, *given): return super().loss(*given) | {'mine': None}": "mine of .* is a NoneType",
    "loss(self, *given): return super().loss(*given) | {'mine': jnp.ones(32, complex)}": "has type complex64",
}
if hasattr(nnx, "List"):  # older versions of Flax take a list
    FAILS |= {
        "__init__(self, *given): super().__init__(*given); self.more = [self.encoder]": r"line 5 in __init__.*nnx.List"
    }


@pytest.mark.parametrize("body", FAILS)
def test_a_model_that_fails_is_one_line(body, tmp_path, monkeypatch, digits):
    said = []
    monkeypatch.setattr(command_line, "_exit", lambda code, message: said.append((code, str(message))))
    monkeypatch.setattr(command_line, "open_streams", lambda: None)  # those of pytest
    monkeypatch.setattr(command_line.signals, "install", lambda: None)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    file = tmp_path / "fails.py"
    file.write_text(f"{HEAD}{body}\n")
    config = aejax.Config(model=aejax.Model((8,), 4, kind=f"{file}:M"), training=aejax.Training(epochs=1))
    command_line.run(lambda _: aejax.fit(config, tmp_path / "run", dataset=digits))
    [(code, line)] = said
    assert code == 1 and re.search(FAILS[body], line) and "\n" not in line, line
    assert not (tmp_path / "run").exists()


def test_what_fails_in_a_class_of_ours_is_no_fault_of_the_users_file():
    user_files.own("aejax.models.autoencoder:Autoencoder", "model.kind")
    assert not any(path.endswith("aejax/models/autoencoder.py") for path in user_files._EXECUTED)
