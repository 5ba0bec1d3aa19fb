"""``read`` without a wait: what is there, and only for whom nothing has to be asked."""

from __future__ import annotations

import os

from fuse4dbricks.vfs.control.tree import README_INO
from tests.support.benches import Bench, Setting, bench_of
from tests.support.fakes import ADA, BOB, PERMISSION_TTL, at, bytes_of, token_of, workspace_with
from tests.support.kernel import Kernel

FILE = at("d", "f")


def setting_of() -> Setting:
    workspace = workspace_with("ada", "bob")
    workspace.put(FILE)
    return Setting(workspace, is_shared=True)


async def opened(bench: Bench, uid: int, name: str) -> int:
    """A handle of somebody's on the file."""
    bench.written.set(uid, token_of(name))
    ino = (await Kernel(bench.filesystem, uid).walk(FILE)).ino
    return (await bench.filesystem.open(uid, ino, os.O_RDONLY)).number


def expected(bench: Bench) -> bytes:
    version = bench.workspace.find(FILE).version
    assert version is not None
    return bytes_of(version)


async def test_what_is_there_is_read_at_once_and_the_rest_is_waited_for() -> None:
    async with bench_of(setting_of()) as bench:
        handle = await opened(bench, ADA, "ada")
        assert bench.filesystem.get_bytes(handle, 0, 100) is None
        whole = expected(bench)
        assert bytes(await bench.filesystem.read(handle, 0, 100)) == whole
        bench.workspace.calls.clear()
        assert bytes(bench.filesystem.get_bytes(handle, 0, 100) or b"") == whole
        assert bytes(bench.filesystem.get_bytes(handle, 2, 3) or b"") == whole[2:5]
        assert bench.filesystem.get_bytes(handle, len(whole), 5) == b"", "beyond the end"
        assert not bench.workspace.calls


async def test_nobody_reads_at_once_without_a_proof_of_his_own() -> None:
    async with bench_of(setting_of()) as bench:
        of_ada = await opened(bench, ADA, "ada")
        of_bob = await opened(bench, BOB, "bob")
        for handle in (of_ada, of_bob):
            await bench.filesystem.read(handle, 0, 5)
        bench.written.forget(BOB)
        assert bench.filesystem.get_bytes(of_bob, 0, 5) is None, "his token is gone"
        assert bench.filesystem.get_bytes(of_ada, 0, 5)
        bench.clock.step(PERMISSION_TTL)
        assert bench.filesystem.get_bytes(of_ada, 0, 5) is None, "the proof has ended"
        assert await bench.filesystem.read(of_ada, 0, 5)
        assert bench.filesystem.get_bytes(of_ada, 0, 5)


async def test_only_remote_files_are_read_at_once() -> None:
    async with bench_of(setting_of()) as bench:
        bench.written.set(ADA, token_of("ada"))
        readme = (await bench.filesystem.open(ADA, README_INO, os.O_RDONLY)).number
        assert bench.filesystem.get_bytes(readme, 0, 5) is None
        assert await bench.filesystem.read(readme, 0, 5)
        assert bench.filesystem.get_bytes(4711, 0, 5) is None
