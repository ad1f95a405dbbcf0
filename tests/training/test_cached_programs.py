import pytest
from jax._src import compilation_cache

from aejax.training import start


@pytest.mark.parametrize("name", ["zstd", "zstandard"])
def test_a_flipped_byte_of_a_compiled_program_is_noticed_whatever_packages_there_are(monkeypatch, name):
    class Unchecked:
        """As a compression without a checksum."""

        ZstdCompressor = ZstdDecompressor = staticmethod(lambda: Unchecked)
        compress = decompress = staticmethod(bytes)

    if not hasattr(compilation_cache, name):
        pytest.skip(f"this JAX has no {name}")
    monkeypatch.setattr(compilation_cache, name, Unchecked)
    start.require_checksums()
    program = bytes(range(256)) * 4
    kept = bytearray(compilation_cache.compress_executable(program))
    assert compilation_cache.decompress_executable(bytes(kept)) == program
    for place in range(len(kept)):
        flipped = bytearray(kept)
        flipped[place] ^= 1
        with pytest.raises(Exception):  # noqa: B017 - JAX takes any for a reason to compile again
            compilation_cache.decompress_executable(bytes(flipped))
