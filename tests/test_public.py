"""What `import aejax` offers."""

import types

import aejax


def test_every_name_stays_what_it_is():
    """A module of the same name would take the place of a function as soon as it is imported."""
    for name in aejax.__all__:
        getattr(aejax, name)
    assert not [name for name in aejax.__all__ if isinstance(getattr(aejax, name), types.ModuleType)]
