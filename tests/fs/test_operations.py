"""The adapter between the kernel and the file system, over a file system that fails in every way there is."""

from __future__ import annotations

import errno
from typing import Any, cast

import pyfuse3
import pytest
import trio

from fuse4dbricks import errors
from fuse4dbricks.fuse.operations import Operations, entry_of
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.vfs.attributes import Attributes
from fuse4dbricks.vfs.control.tree import README_INO, TOKEN_INO
from fuse4dbricks.vfs.filesystem import Filesystem
from tests.support.benches import Setting, bench_of
from tests.support.fakes import ADA, MODIFIED, at, token_of, workspace_with
from tests.support.kernel import Kernel
from tests.support.requests import HANDLERS, Caller, Fields, arguments_of

CHANGES = {
    "create", "mknod", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "setxattr", "removexattr",
}  # fmt: skip
#: Handlers that do not ask the file system anything.
CONSTANT = {"statfs", "fsyncdir", "fsync"}
#: Not even told of: see ``Operations.flush``.
UNWANTED = "flush"
FAILURES: list[BaseException] = [
    ValueError("v"),
    KeyError("k"),
    OSError(errno.ENOSPC, "full"),
    OSError("no number"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    MemoryError(),
    AssertionError(),
    RecursionError(),
    ExceptionGroup("g", [ValueError(), TypeError()]),
    trio.BrokenResourceError(),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    StopIteration(),
    errors.ChunkUnusable("x"),
    errors.Unreachable("x"),
]


class BrokenFilesystem:
    """Raises the same from everything that is called on it, at once or when awaited."""

    def __init__(self, error: BaseException, *, is_late: bool) -> None:
        self._error = error
        self._is_late = is_late
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        def fail(*_: object) -> Any:
            if self._is_late and name.startswith("get_"):
                return None  # nothing at once
            self.calls += 1
            if not self._is_late:
                raise self._error
            return self._fail()

        return fail

    async def _fail(self) -> None:
        await trio.lowlevel.checkpoint()
        raise self._error


def broken(error: BaseException, *, is_late: bool) -> tuple[Operations, BrokenFilesystem]:
    filesystem = BrokenFilesystem(error, is_late=is_late)
    return Operations(cast(Filesystem, filesystem), Metrics()), filesystem


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
async def test_nothing_but_fuse_errors_comes_out(handler: str, error: BaseException) -> None:
    operations, filesystem = broken(error, is_late=False)
    call = getattr(operations, handler)(*arguments_of(handler))
    if handler == "forget":
        await call
        assert filesystem.calls
    elif handler in CONSTANT:
        await call
    else:
        with pytest.raises(pyfuse3.FUSEError) as info:
            await call
        assert (info.value.errno == errno.EROFS) is (handler in CHANGES)
        assert filesystem.calls or handler in CHANGES or handler == UNWANTED
        assert (info.value.errno == errno.ENOSYS) is (handler == UNWANTED)


ASYNCHRONOUS = ["lookup", "getattr", "access", "opendir", "readdir", "open", "read"]


@pytest.mark.parametrize("handler", ASYNCHRONOUS)
@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
async def test_nor_when_it_fails_after_a_while(handler: str, error: BaseException) -> None:
    operations, filesystem = broken(error, is_late=True)
    with pytest.raises(pyfuse3.FUSEError):
        await getattr(operations, handler)(*arguments_of(handler))
    assert filesystem.calls == 1


@pytest.mark.parametrize("handler", sorted(CHANGES))
async def test_every_change_is_refused_because_the_mount_is_read_only(handler: str) -> None:
    operations, _ = broken(AssertionError(), is_late=False)
    with pytest.raises(pyfuse3.FUSEError) as info:
        await getattr(operations, handler)(*arguments_of(handler))
    assert info.value.errno == errno.EROFS


# --- over the real one ---------------------------------------------------------------------------


def setting() -> Setting:
    made = Setting(workspace_with("ada"))
    made.workspace.put(at("d", "f"), size=1000)
    return made


async def test_attributes_in_the_kernels_form() -> None:
    async with bench_of(setting()) as bench:
        bench.written.set(ADA, token_of("ada"))
        operations = Operations(bench.filesystem, bench.metrics)
        shown = await Kernel(bench.filesystem, ADA).walk(at("d", "f"))
        entry = await operations.getattr(shown.ino, cast(Any, Caller(ADA)))
        assert (entry.st_ino, entry.st_size, entry.st_blocks, entry.st_nlink) == (shown.ino, 1000, 2, 1)
        assert entry.st_mtime_ns == entry.st_atime_ns == entry.st_ctime_ns == MODIFIED * 10**9
        assert (entry.entry_timeout, entry.attr_timeout) == (30, 30)


@pytest.mark.parametrize("mtime", [0.0, 1.0, 1_721_302_401.0, 4_102_444_799.0, -1.0, -86400.0])
def test_times_are_exact_to_the_second(mtime: float) -> None:
    assert entry_of(Attributes(7, mtime=mtime)).st_mtime_ns == int(mtime) * 10**9


def test_timeouts_are_never_pyfuse3s_own() -> None:
    entry = entry_of(Attributes(0, entry_timeout=5))
    assert (entry.st_ino, entry.entry_timeout, entry.attr_timeout) == (0, 5, 0)


async def test_the_size_of_the_token_file_can_be_set_and_nothing_else() -> None:
    async with bench_of(setting()) as bench:
        operations = Operations(bench.filesystem, bench.metrics)

        async def setattr_of(ino: int, **fields: bool) -> pyfuse3.EntryAttributes:
            return await operations.setattr(
                ino,
                pyfuse3.EntryAttributes(),
                cast(pyfuse3.SetattrFields, Fields(**fields)),
                None,
                cast(Any, Caller()),
            )

        assert (await setattr_of(TOKEN_INO, update_mtime=True)).st_ino == TOKEN_INO
        for ino, fields in [
            (README_INO, {}),
            (1, {}),
            (TOKEN_INO, {"update_mode": True}),
            (TOKEN_INO, {"update_uid": True}),
            (TOKEN_INO, {"update_gid": True}),
            (TOKEN_INO, {"update_size": False, "update_mtime": True}),
        ]:
            with pytest.raises(pyfuse3.FUSEError) as info:
                await setattr_of(ino, **fields)
            assert info.value.errno == errno.EROFS


@pytest.mark.parametrize(
    ("name", "number"),
    [(b"\xff", errno.ENOENT), (b"x" * 256, errno.ENAMETOOLONG), (b"main", errno.EACCES)],
)
async def test_lookups_without_a_token(name: bytes, number: int) -> None:
    async with bench_of(setting()) as bench:
        operations = Operations(bench.filesystem, bench.metrics)
        with pytest.raises(pyfuse3.FUSEError) as info:
            await operations.lookup(pyfuse3.ROOT_INODE, name, cast(Any, Caller(ADA)))
        assert info.value.errno == number
        assert bench.metrics.get("fuse.errors", errno=errno.errorcode[number]) == 1


async def test_the_disk_is_never_full_and_names_have_255_bytes() -> None:
    async with bench_of(setting()) as bench:
        shown = await Operations(bench.filesystem, bench.metrics).statfs(cast(Any, Caller()))
        assert shown.f_bavail == shown.f_blocks > 0
        assert shown.f_namemax == 255
