"""The mount's end of the control socket, in this process: who is heard, for how long, and what a sick folder costs."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from fuse4dbricks.app.upkeep.attendance import attended
from fuse4dbricks.app.upkeep.service import CLIENTS, serve_orders
from fuse4dbricks.app.upkeep.wire import OrderRefused, path_of
from tests.support.storage import CHUNKS_PER_FILE, StorageRig, storage_rig


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[StorageRig]:
    """A cache with two files in it that takes orders."""
    async with storage_rig(folder) as rig:
        assert rig.tier.upkeep is not None
        for number in range(2):
            await rig.read_file(number)
        rig.supervisor.start_soon("orders", serve_orders, rig.folder, rig.tier.upkeep)
        while not (folder / "control").exists():
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        yield rig


async def test_an_order_is_obeyed_by_the_mount_that_has_the_folder(tmp_path: Path) -> None:
    async with serving(tmp_path / "cache") as rig:
        async with attended(tmp_path / "cache") as give:
            answer = await give("evict", {"under": "/Volumes/main/sales/raw/0.bin"})
            assert answer["chunks"] == CHUNKS_PER_FILE
            with pytest.raises(OrderRefused, match="no order"):
                await give("dance", {})
        assert len(rig.stored()) == CHUNKS_PER_FILE
        assert rig.metrics.get("disk.evicted", reason="asked") == CHUNKS_PER_FILE


async def test_who_says_nothing_is_sent_away(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with serving(tmp_path / "cache") as rig:
        silent = [await trio.open_unix_socket(path_of(rig.folder.fd)) for _ in range(CLIENTS)]
        late = await trio.open_unix_socket(path_of(rig.folder.fd))
        await late.send_all(b'{"order": "progress"}\n')
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(5.0)
        for client in silent:
            assert b"no order came" in await client.receive_some()
            await client.aclose()
        assert json.loads(await late.receive_some())["answer"]["is_complete"]
        await late.aclose()


async def test_a_folder_in_which_no_socket_can_be_made_costs_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mock_clock: trio.testing.MockClock
) -> None:
    cache = tmp_path / "cache"
    async with storage_rig(cache) as rig:
        assert rig.tier.upkeep is not None
        (cache / "control").mkdir()
        rig.supervisor.start_soon("orders", serve_orders, rig.folder, rig.tier.upkeep)
        while "no orders to the cache" not in caplog.text:
            await trio.lowlevel.checkpoint()
        os.rmdir(cache / "control")  # noqa: PTH106 - beside the loop, a moment
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(60.0)
        while not (cache / "control").exists():
            await trio.lowlevel.checkpoint()
        assert (cache / "control").is_socket()
    assert rig.metrics.get("tasks.failed") == 0
    assert "Traceback" not in caplog.text
