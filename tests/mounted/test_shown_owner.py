"""Owner, group and mode: as the options say, the same for everybody, whoever looked first."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from tests.support.local_users import ALICE, BOB, LocalUser, needs_root, open_folder
from tests.support.mounts import mounted
from tests.support.trees import put_file
from tests.support.workspace import serve

pytestmark = needs_root

LOOK = "found = os.stat(path); out = [found.st_uid, found.st_gid, found.st_mode]"
PLACES = ("main", "main/sales", "main/sales/raw", "main/sales/raw/d", "main/sales/raw/d/f")

DEFAULT = (os.geteuid(), os.getegid(), 0o444, 0o555)
CHANGED = ("--uid", "61009", "--gid", "61008", "--file-mode", "0640", "--dir-mode", "0750")


@pytest.mark.parametrize(
    ("first", "options", "shown"),
    [("bob", (), DEFAULT), ("alice", CHANGED, (61009, 61008, 0o640, 0o750))],
    ids=["by default", "by options"],
)
def test_everybody_sees_the_same(
    first: str, options: Sequence[str], shown: tuple[int, int, int, int]
) -> None:
    uid, gid, file_mode, dir_mode = shown
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        served = stack.enter_context(serve(folder / "tree"))
        (served.volume / "d").mkdir()
        put_file(served.volume / "d/f", 1000)
        live = stack.enter_context(mounted(served, folder / "m", "--allow-other", *options, token=""))
        users = {
            name: stack.enter_context(LocalUser(number, live.path))
            for name, number in (("alice", ALICE), ("bob", BOB))
        }
        for name, user in users.items():
            user.write_token(live.path, served.people.add_user(f"{name}@example.com"))
        for name in sorted(users, key=lambda each: each != first):
            for place in PLACES:
                is_file = place.endswith("f")
                mode = stat.S_IFREG | file_mode if is_file else stat.S_IFDIR | dir_mode
                assert users[name].do(LOOK, path=str(live.path / place)) == [uid, gid, mode], place
            # The bits say what is usual; who may read is the workspace's to say.
            read = "out = len(open(path, 'rb').read())"
            assert users[name].do(read, path=str(live.path / PLACES[-1])) == 1000
            assert users[name].fail("os.chown(path, -1, -1)", path=str(live.path / PLACES[-1])) in {
                "",
                "EROFS",
                "EPERM",
            }
            assert users[name].fail("open(path, 'ab')", path=str(live.path / PLACES[-1])) == "EROFS"
