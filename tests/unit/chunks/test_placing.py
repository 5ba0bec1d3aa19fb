"""Files that appear whole: with and without a name while they are written, and where that cannot be."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fuse4dbricks.chunks.placing import Placer, Spot
from tests.support.strace import needs_strace


@dataclass
class Scene:
    """A place and the folder for temporary names."""

    place: Path
    spare: Path
    place_fd: int
    spare_fd: int

    def put(self, placer: Placer, name: str, *parts: bytes) -> None:
        placer.place(Spot(name, self.place_fd, "1.tmp", self.spare_fd, self.spare_fd), parts)

    def names(self) -> list[str]:
        return sorted(path.name for folder in (self.place, self.spare) for path in folder.iterdir())


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    folders = [tmp_path / name for name in ("place", "spare")]
    for folder in folders:
        folder.mkdir()
    fds = [os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for folder in folders]
    yield Scene(folders[0], folders[1], fds[0], fds[1])
    for fd in fds:
        os.close(fd)


@pytest.fixture(params=[True, False])
def placer(request: pytest.FixtureRequest) -> Placer:
    return Placer(is_able=request.param)


def test_a_new_file_has_all_parts_and_is_its_owners(scene: Scene, placer: Placer) -> None:
    scene.put(placer, "a", b"one", b"", b"two")
    assert (scene.place / "a").read_bytes() == b"onetwo"
    status = (scene.place / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_nlink) == (0o600, 1)
    assert scene.names() == ["a"]


def test_an_older_file_is_replaced_and_who_has_it_open_reads_on(scene: Scene, placer: Placer) -> None:
    scene.put(placer, "a", b"old")
    with (scene.place / "a").open("rb") as reader:
        scene.put(placer, "a", b"new")
        assert reader.read() == b"old"
    assert (scene.place / "a").read_bytes() == b"new"
    assert scene.names() == ["a"]


def test_a_link_is_replaced_and_not_written_through(scene: Scene, placer: Placer, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"theirs")
    (scene.place / "a").symlink_to(tmp_path / "victim")
    scene.put(placer, "a", b"ours")
    assert (tmp_path / "victim").read_bytes() == b"theirs"
    assert not (scene.place / "a").is_symlink()


def test_a_folder_in_its_place_is_an_error_that_leaves_nothing(scene: Scene, placer: Placer) -> None:
    (scene.place / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        scene.put(placer, "a", b"ours")
    assert scene.names() == ["a"]


def test_a_disk_that_does_not_take_it_all_has_no_part_of_it(scene: Scene, placer: Placer) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            scene.put(placer, "a", bytes(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert scene.names() == []


#: Beyond the limit the kernel kills, as Python usually tells it not to.
KILLED = """
import os, resource, signal, sys
from fuse4dbricks.chunks.placing import Placer, Spot
place, spare = (os.open(folder, os.O_RDONLY) for folder in sys.argv[1:])
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
Placer().place(Spot("a", place, "1.tmp", spare, place), [bytes(1000)])
"""


def test_who_is_killed_while_writing_leaves_nothing(scene: Scene) -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED, scene.place, scene.spare], check=False, capture_output=True, timeout=60
    )
    assert child.returncode == -signal.SIGXFSZ, child.stderr
    assert scene.names() == []


PLACED_TWICE = """
import os, sys
from fuse4dbricks.chunks.placing import Placer, Spot
place, spare = (os.open(folder, os.O_RDONLY) for folder in sys.argv[1:])
placer = Placer()
for content in (b"old", b"new"):
    placer.place(Spot("a", place, "1.tmp", spare, place), [content])
"""


@needs_strace
@pytest.mark.parametrize("error", ["EPERM", "ENOENT", "ENOSYS"])
def test_where_a_file_cannot_be_given_a_name_it_has_one_from_the_start(scene: Scene, error: str) -> None:
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"inject=linkat:error={error}"]
    subprocess.run(
        [*command, sys.executable, "-c", PLACED_TWICE, scene.place, scene.spare], check=True, timeout=60
    )
    assert (scene.place / "a").read_bytes() == b"new"
    assert scene.names() == ["a"]
