"""The lease of a folder in a bucket: an object that names the only run that may write to the folder."""

import json
import platform
import threading
import time
from typing import Any

from aejax.config.checks import Stopped
from aejax.storage.store import Store, StoreError

NAME = ".aejax-lease"
SECONDS = 60.0
"""time after its last renewal at which a lease expires"""

_FIELDS = {"owner": str, "host": str, "expires": float}


class Held(Stopped):
    """Another run has the lease."""


class Lease:
    """The lease of one run.

    Args:
        owner: a name that no other run has; the lease of a killed run of this name is taken over at once.
    """

    def __init__(self, store: Store, owner: str) -> None:
        self._store, self._owner, self._generation = store, owner, b""
        self._count, self._renewed, self._lock = 0, 0.0, threading.Lock()

    def acquire(self) -> bool:
        """Take the lease, and return whether the last owner of the folder had our name.

        Raises Held: another run has the lease.
        """
        held, self._generation = self._read()
        mine = held.get("owner") == self._owner
        if held and not mine and held["expires"] > time.time():
            raise self._held(held)
        self.renew()
        return mine

    def renew(self) -> None:
        """Extend the lease.

        Raises Held: another run has taken the lease.
        """
        with self._lock:
            begun, self._count = time.monotonic(), self._count + 1  # on S3, equal contents have equal generations
            about = {"owner": self._owner, "host": platform.node(), "expires": time.time() + SECONDS}
            content = json.dumps(about | {"count": self._count}).encode()
            generation = self._store.write(NAME, content, self._generation)
            if generation is None:  # or the reply to a request was lost, and its repetition refused
                held, generation = self._read()
                if held.get("owner") != self._owner:
                    raise self._held(held)
            self._generation, self._renewed = generation, begun

    def require(self) -> None:
        """Require that this run still has the lease, before it writes what readers trust.

        Raises Held: another run has taken the lease.
        """
        if time.monotonic() - self._renewed > 2.0:
            self.renew()

    def release(self) -> None:
        """Remove the lease."""
        self._store.write(NAME, None, self._generation)

    def _read(self) -> tuple[dict[str, Any], bytes]:
        content, generation = self._store.read(NAME)
        try:
            held = json.loads(content) if content else None
            return {} if held is None else {name: kind(held[name]) for name, kind in _FIELDS.items()}, generation
        except (ValueError, TypeError, LookupError) as error:
            raise StoreError(f"{self._store.address}/{NAME} is no lease of aejax: remove the object") from error

    def _held(self, held: dict[str, Any]) -> Held:
        left = max(0.0, held.get("expires", 0) - time.time())
        return Held(
            f"{self._store.address} is in use by a run on {held.get('host')}; wait for that run, or give another "
            f"workdir (if that run was killed, run the same command again in {left:.0f} s)"
        )
