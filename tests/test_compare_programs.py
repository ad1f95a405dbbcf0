import jax
import jax.numpy as jnp
from compare_programs import normalised


def compiled(function):
    return normalised(jax.jit(function).lower(jnp.ones((8, 4))).compile().as_text())


def test_names_and_places_do_not_count_and_operations_do():
    def first(x):
        return jnp.tanh(x @ x.T).sum()

    def renamed(other_name):
        with jax.named_scope("elsewhere"):
            return jnp.tanh(other_name @ other_name.T).sum()

    assert compiled(first) == compiled(renamed) and "tanh" in compiled(first)
    assert compiled(first) != compiled(lambda x: jnp.tanh(x @ x.T).max())
    assert compiled(first) != compiled(lambda x: jnp.sinh(x @ x.T).sum())
