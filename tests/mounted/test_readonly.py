"""Every system call that changes something is refused with EROFS, and the tools that copy attributes do not mind.

As root, whom no permission bits stop, and as another user.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount, mounted
from tests.support.trees import put_file
from tests.support.workspace import VOLUME_NAME, Served, serve

#: Runs in a process of its own, perhaps as another user: prints "name errno" for each call.
CALLS = """
import errno, os, sys
mnt, uid = sys.argv[1], int(sys.argv[2])
if uid:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
os.chdir(mnt)
assert open("file", "rb").read(5) == b"hello"
calls = {
    "open for writing": lambda: os.open("file", os.O_WRONLY),
    "open for both": lambda: os.open("file", os.O_RDWR),
    "open to append": lambda: os.open("file", os.O_WRONLY | os.O_APPEND),
    "open and truncate": lambda: os.open("file", os.O_RDONLY | os.O_TRUNC),
    "open or create": lambda: os.open("new", os.O_RDONLY | os.O_CREAT, 0o600),
    "create": lambda: os.open("new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600),
    "unnamed file": lambda: os.open(".", os.O_RDWR | os.O_TMPFILE, 0o600),
    "mkdir": lambda: os.mkdir("new"),
    "unlink": lambda: os.unlink("file"),
    "rmdir": lambda: os.rmdir("folder"),
    "rename": lambda: os.rename("file", "new"),
    "rename over": lambda: os.rename("file", "other"),
    "rename folder": lambda: os.rename("folder", "new"),
    "link": lambda: os.link("file", "new"),
    "symlink": lambda: os.symlink("file", "new"),
    "fifo": lambda: os.mkfifo("new"),
    "node": lambda: os.mknod("new", 0o100600),
    "chmod": lambda: os.chmod("file", 0o777),
    "chmod folder": lambda: os.chmod("folder", 0o777),
    "chown": lambda: os.chown("file", uid, uid),
    "utime": lambda: os.utime("file", (1, 1)),
    "utime now": lambda: os.utime("file"),
    "truncate": lambda: os.truncate("file", 0),
    "truncate longer": lambda: os.truncate("file", 1 << 20),
    "setxattr": lambda: os.setxattr("file", "user.a", b"b"),
    "removexattr": lambda: os.removexattr("file", "user.a"),
    "touch README": lambda: os.open(sys.argv[3] + "/README.txt", os.O_WRONLY),
    "unlink README": lambda: os.unlink(sys.argv[3] + "/README.txt"),
    "unlink token": lambda: os.unlink(sys.argv[3] + "/.auth/personal_access_token"),
    "create at the top": lambda: os.mkdir(sys.argv[3] + "/new"),
    "create in .auth": lambda: os.open(sys.argv[3] + "/.auth/new", os.O_WRONLY | os.O_CREAT),
    "chmod of the top": lambda: os.chmod(sys.argv[3], 0o777),
}
for name, call in calls.items():
    try:
        call()
    except OSError as error:
        print(name, errno.errorcode[error.errno], sep=": ")
    else:
        print(name, "done", sep=": ")
print("access", [os.access("file", mode) for mode in (os.F_OK, os.R_OK, os.W_OK, os.X_OK)], sep=": ")
print("access folder", [os.access("folder", mode) for mode in (os.R_OK, os.W_OK, os.X_OK)], sep=": ")
"""

#: Linux refuses these before it asks the file system at all.
BY_THE_KERNEL = {
    # Making a file without a name is an operation of its own, which libfuse does not know.
    "unnamed file": {"ENOTSUP", "EOPNOTSUPP", "EROFS"},
}


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """A folder that another user can enter, which pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="fuse4dbricks-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def crowd(open_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMount]:
    """A mount for all users, with one token for all, of a volume with a few files."""
    with serve(tmp_path_factory.mktemp("tree")) as served:
        _fill(served)
        options = ("--allow-other", "--single-principal") if os.geteuid() == 0 else ()
        with mounted(served, open_folder, *options) as live:
            yield live


def _fill(served: Served) -> None:
    (served.volume / "file").write_bytes(b"hello, world")
    put_file(served.volume / "other", 100)
    (served.volume / "folder").mkdir()


@pytest.mark.parametrize("uid", [0, 65534])
def test_every_change_is_refused(crowd: LiveMount, uid: int) -> None:
    if uid and os.geteuid() != 0:
        pytest.skip("only root becomes another user")
    volume = crowd.path.joinpath(*VOLUME_NAME.split("."))
    command = [sys.executable, "-I", "-c", CALLS, str(volume), str(uid), str(crowd.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    answers = dict(line.split(": ") for line in done.stdout.splitlines())
    assert answers.pop("access") == "[True, True, False, False]"
    assert answers.pop("access folder") == "[True, False, True]"
    odd = {name: said for name, said in answers.items() if said not in BY_THE_KERNEL.get(name, {"EROFS"})}
    assert odd == {}
    assert len(answers) > 30
    assert (crowd.path / "main/sales/raw/file").read_bytes() == b"hello, world"
