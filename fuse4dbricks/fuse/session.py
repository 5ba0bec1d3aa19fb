"""A mount from beginning to end.

The difficulty: a mount must come down in seconds whatever is going on in it: requests in flight, files open,
somebody's working directory inside. So the loop gets a moment to finish what it is doing, is then cancelled, and
the mount is detached rather than waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyfuse3
import trio

from fuse4dbricks.concurrency.supervise import supervised
from fuse4dbricks.errors import MountError
from fuse4dbricks.fuse.connection import SUBTYPE, tune
from fuse4dbricks.fuse.guard import DEADLINE_SECONDS
from fuse4dbricks.fuse.operations import Operations
from fuse4dbricks.fuse.pages import KernelPages
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.vfs.filesystem import Filesystem

logger = logging.getLogger("fuse4dbricks.fuse")

#: Seconds that requests in flight get to finish when the mount is asked to end.
GRACE_SECONDS = 1.5
#: Requests worked on at once. pyfuse3's own 99 is reached by a hundred reads of a stalled server, and then
#: even a cached ``stat`` waits.
MAX_TASKS = 1024
MIN_TASKS = 8


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How to mount.

    Attributes:
        mountpoint: an existing folder, absolute and without links.
        fsname: shown as the source of the mount.
        allow_other: other local users may enter.
        auto_unmount: a killed daemon leaves no dead mount.
        deadline: seconds in which each request is answered.
        permission_ttl: seconds for which a proof that somebody may read holds.
    """

    mountpoint: Path
    fsname: str
    allow_other: bool = False
    auto_unmount: bool = True
    deadline: float = DEADLINE_SECONDS
    permission_ttl: float = 30.0

    def fuse_options(self, *, auto_unmount: bool) -> set[str]:
        """For libfuse. No ``default_permissions``: it would turn EROFS into EACCES, and modes are ours."""
        options = {f"fsname={self.fsname}", f"subtype={SUBTYPE}", "nosuid", "nodev"}
        if self.allow_other:
            options.add("allow_other")
        if auto_unmount:
            options.add("auto_unmount")
        return options


async def serve(
    filesystem: Filesystem,
    metrics: Metrics,
    options: SessionOptions,
    *,
    stop: trio.Event,
    on_ready: Callable[[], None],
) -> None:
    """Mount, answer requests until unmounted or ``stop`` is set, and unmount.

    Raises:
        MountError: libfuse could not mount.
    """
    operations = Operations(filesystem, metrics, deadline=options.deadline)
    _mount(operations, options)
    pages = KernelPages()
    try:
        async with supervised(metrics) as services, trio.open_nursery() as nursery:
            services.run_forever("recalls", filesystem.recalls.run, pages, options.permission_ttl)
            nursery.start_soon(_end_when_asked, stop, nursery.cancel_scope)
            nursery.start_soon(_announce, operations, options.mountpoint, on_ready)
            await pyfuse3.main(min_tasks=MIN_TASKS, max_tasks=MAX_TASKS)
            nursery.cancel_scope.cancel()
    finally:
        await pages.aclose()
        pyfuse3.close(unmount=True)


def _mount(operations: Operations, options: SessionOptions) -> None:
    mountpoint = str(options.mountpoint)
    if options.auto_unmount:
        try:
            pyfuse3.init(operations, mountpoint, options.fuse_options(auto_unmount=True))
        except RuntimeError:
            # Some systems' fusermount3 refuses it to ordinary users; the mount is worth more.
            logger.info(
                "auto_unmount is not available here: after a crash, run fusermount3 -uz %s", mountpoint
            )
        else:
            return
    try:
        pyfuse3.init(operations, mountpoint, options.fuse_options(auto_unmount=False))
    except RuntimeError as error:
        raise MountError(
            f"cannot mount on {mountpoint}: {error}; the line above, from fusermount3, says why"
        ) from error


async def _announce(operations: Operations, mountpoint: Path, on_ready: Callable[[], None]) -> None:
    """Tune the mount and say that it answers. Not earlier: the kernel's INIT takes the read-ahead back to 128 KiB."""
    await operations.introduced.wait()
    tune(mountpoint)
    on_ready()


async def _end_when_asked(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    pyfuse3.terminate()
    await trio.sleep(GRACE_SECONDS)
    logger.info("some requests did not finish in time and are dropped")
    scope.cancel()
