"""The workdir of a run of one or several processes, which need not share a disk if the workdir is in a bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from aejax import signals
from aejax.config import Hosts
from aejax.config.files import address
from aejax.storage import opened
from aejax.training.devices import is_first, peers, together
from aejax.training.start import join


@contextlib.contextmanager
def shared(place: str | Path | None, hosts: Hosts) -> Iterator[Path | None]:
    """Yield the local folder of a workdir in each process of a run; see `aejax.storage.opened`.

    The first process owns a workdir in a bucket; each of the others downloads it at the start.
    """
    if place is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        if hosts.coordinator is None or address(place) is None:
            yield stack.enter_context(opened(place))
            return
        join(hosts)
        signals.renew()
        stack.enter_context(peers())
        folder = None
        for first in (True, False):
            with together():
                if is_first() == first:
                    folder = stack.enter_context(opened(place, reads=not first))
        yield folder
