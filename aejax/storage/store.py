"""Objects of a folder in a bucket, by TensorStore, which repeats requests that fail for a moment."""

import functools
import os
import re
from pathlib import Path
from typing import Any

from aejax.config.checks import AejaxError, InputError, shown
from aejax.config.files import address

SECONDS = 45.0
"""time of a request with all its repetitions, besides the time for its bytes"""
_BYTES_PER_SECOND = 2**20
_LARGE = 2**29
"""bytes of an object that we may read; TensorStore itself gives up a minute after the last answer"""

_ABSENT = b"\2"
"""generation of an object that does not exist"""
_SETTINGS = {
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the file of a key, or run: gcloud auth application-default login",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_REGION and AWS_ENDPOINT_URL if needed",
}
_REASONS = {
    r"quota|storage ?full|code='507'": "its quota is used up: free space, or raise the quota",
    r"NoSuchBucket|NOT_FOUND|code='404'": "the bucket does not exist: create it, or correct the address",
    r"PERMISSION_DENIED|UNAUTHENTICATED|credential|code='40[013]'|\b40[13]\b": "access is refused",
}
"""pattern of TensorStore's message → the reason that we give"""


class StoreError(AejaxError):
    """A failure of a store.

    Attributes:
        brief: whether the store did not answer, so that the same command may succeed later.
    """

    def __init__(self, message: str, brief: bool = False) -> None:
        super().__init__(message)
        self.brief = brief


class Store:
    """The objects of a folder in a bucket. Their names are relative to the folder.

    Raises:
        InputError: the address names no folder in a bucket.
        StoreError: also in all methods: the store refuses the request, or does not answer.
    """

    def __init__(self, place: object) -> None:
        self.address = address(place)
        self.scheme, _, rest = self.address.partition("://")
        bucket, *parts = rest.rstrip("/").split("/")
        named = re.fullmatch(r"[a-z0-9][a-z0-9._-]+[a-z0-9]", bucket) and parts and all(map(plain, parts))
        if not named:
            form = f"{self.scheme}://BUCKET/FOLDER, with at least three letters in BUCKET"
            raise InputError(f"{shown(self.address, str)} names no folder in a bucket; give {form}")
        self.address = f"{self.scheme}://{'/'.join((bucket, *parts))}"
        import tensorstore  # takes half a second

        spec = {"driver": "gcs" if self.scheme == "gs" else "s3", "bucket": bucket, "path": f"{'/'.join(parts)}/"}
        if self.scheme == "s3":
            keys = "environment" if os.environ.get("AWS_ACCESS_KEY_ID") else "default"
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            spec |= {"aws_credentials": {"type": keys}} | ({"endpoint": endpoint} if endpoint else {})
            spec |= {"aws_region": region or "us-east-1"} if region or endpoint else {}
        self._kv = self._done(tensorstore.KvStore.open(spec, context=_context()))

    def names(self) -> list[str]:
        """List the names of all objects that are valid paths of files in one folder; other objects are ignored.

        Raises InputError: a name leads out of the folder.
        """
        names = set()
        for key in self._done(self._kv.list()):
            name = key.decode(errors="replace")
            if ".." in re.split(r"[/\\]", name):
                raise InputError(f"{self.address} has an object {name!r}, whose name leads out of it: remove it")
            if "\ufffd" not in name and all(map(plain, name.split("/"))):
                names.add(name)
        above = {name: {name[: each.start()] for each in re.finditer("/", name)} for name in names}
        return sorted(name for name in names if not above[name] & names)

    def read(self, name: str) -> tuple[bytes | None, bytes]:
        """Return the content of an object, None if it does not exist, and its generation."""
        found = self._done(self._kv.read(name), _LARGE)
        return (found.value if found.state == "value" else None), found.stamp.generation

    def fetch(self, name: str, path: Path) -> None:
        """Write the content of an object to a file; raise FileNotFoundError if the object does not exist."""
        content, _ = self.read(name)
        if content is None:
            raise FileNotFoundError(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def write(self, name: str, content: bytes | None, generation: bytes | None = None) -> bytes | None:
        """Write an object at once, or delete it.

        Args:
            content: None deletes the object.
            generation: write only if the object still has this generation, `Store.read` of a name without an object.

        Returns the new generation; None if the object has another generation.
        """
        writing = self._kv.write(name, content, **({} if generation is None else {"if_equal": generation}))
        return self._done(writing, len(content or b"")).generation or None

    def _done(self, future: Any, size: int = 0) -> Any:
        try:
            return future.result(timeout=SECONDS + size / _BYTES_PER_SECOND)
        except (ValueError, OSError, RuntimeError, NotImplementedError) as error:  # TimeoutError is an OSError
            text = str(error)
            future.cancel()  # otherwise TensorStore goes on, and a write may succeed later
        why = next((why for pattern, why in _REASONS.items() if re.search(pattern, text, re.IGNORECASE)), None)
        if why is None:
            found = shown(re.split(r" \[|: <|\n", text)[0], str) or f"no answer in {SECONDS:g} s"
            why = f"the store does not answer ({found}): check the network"
            raise StoreError(f"{self.address}: {why}, and {_SETTINGS[self.scheme]}", brief=True)
        raise StoreError(f"{self.address}: {why}" + (f"; {_SETTINGS[self.scheme]}" if "refused" in why else ""))


@functools.cache
def _context() -> Any:
    """Make the connections that all stores of this process share."""
    import tensorstore

    retries = {"max_retries": 12, "initial_delay": "0.1s", "max_delay": "8s"}
    return tensorstore.Context({"gcs_request_retries": retries, "s3_request_retries": retries})


def plain(part: str) -> bool:
    """Return whether a part of an object's name is a usual name of a file: not hidden, and valid on every disk."""
    return 0 < len(part.encode()) < 250 and part[0] != "." and part.isprintable() and not {"\\", ":"} & {*part}
