import re

import jax
import jax.numpy as jnp
import pytest

from aejax import Config, InputError
from benchmark import hlo
from benchmark.profile import operations, profile, table


@pytest.fixture(scope="module")
def found(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    found = profile(Config(), digits, folder, steps=10)
    assert list(folder.rglob("*.json.gz"))  # for the viewers
    return found


def test_the_operations_of_the_traced_steps_are_found_and_named(found):
    assert sum(each.share for each in found) == pytest.approx(1)
    assert [each.milliseconds for each in found] == sorted((each.milliseconds for each in found), reverse=True)
    assert not {"while", "call", "conditional"} & {each.kind for each in found}  # their time is that of others
    products = [each for each in found if each.kind == "matmul"]
    # In each of ten steps: 64-128-32-128-64 forward, and backward two for each layer but the first.
    assert sum(each.count for each in products) >= 10 * (4 + 7)
    assert any("dot_general" in each.origin for each in products)
    assert any(each.flops_per_second for each in products)


def test_the_table_names_the_longest_and_sums_by_kind(found):
    shown = table(found, most=3)
    rows = shown.splitlines()[2:5]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [each.name for each in found[:3]]
    shares = [float(share) for share in re.findall(r"([\d.]+)%", shown.splitlines()[-1])]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_the_flop_of_a_matrix_product_are_counted_fused_or_not():
    def product(x, y):
        return jnp.tanh(x @ y) @ y.T

    text = jax.jit(product).lower(jnp.ones((96, 160)), jnp.ones((160, 48))).compile().as_text()
    entry = text[text.index("ENTRY") :]
    described = {name: each for name, each in hlo.operations(text).items() if f"{name} = " in entry}
    assert sum(each.flop for each in described.values()) == 2 * (2 * 96 * 160 * 48)


def test_a_trace_without_operations_is_refused(tmp_path):
    with jax.profiler.trace(str(tmp_path)):
        pass
    with pytest.raises(InputError, match="holds no operations"):
        operations(next(tmp_path.rglob("*.xplane.pb")), {})
