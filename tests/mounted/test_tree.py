"""A whole tree, read in every way that programs read, equals its source.

One mount serves the module: what one test has cached is what the next one must not get wrong.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuse4dbricks.units import KIB, MIB
from tests.support.mounts import LiveMount, mounted
from tests.support.trees import BORDER_SIZES, FIRST_MTIME, grow, put_file, read_tree
from tests.support.workspace import VOLUME_NAME, Served, serve

BIG = max(BORDER_SIZES)
BIG_NAME = f"sizes/{BIG}.bin"

#: Some extension module of this Python, if it has them as files.
LIBRARY = next(Path(sysconfig.get_config_var("DESTSHARED") or "/nowhere").glob("*.so"), None)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volume's folder on the server's disk."""
    top = tmp_path_factory.mktemp("tree").joinpath(*VOLUME_NAME.split("."))
    grow(top, small_files=200)
    (top / "odd").mkdir()
    put_file(top / "odd/to be removed", 1000)
    if LIBRARY is not None:
        (top / "odd/library.so").write_bytes(LIBRARY.read_bytes())
        os.utime(top / "odd/library.so", (FIRST_MTIME, FIRST_MTIME))
    return top


@pytest.fixture(scope="module")
def running(source: Path) -> Iterator[Served]:
    """The workspace."""
    with serve(source.parents[2]) as served:
        yield served


@pytest.fixture(scope="module")
def mount(running: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveMount]:
    """The mount."""
    with mounted(running, tmp_path_factory.mktemp("mount")) as live:
        yield live


@pytest.fixture(scope="module")
def top(mount: LiveMount) -> Path:
    """The volume in the mount."""
    return mount.path.joinpath(*VOLUME_NAME.split("."))


# --- the whole tree --------------------------------------------------------------------------------


def test_names_sizes_times_and_bytes(top: Path, source: Path) -> None:
    assert read_tree(top) == read_tree(source)


def test_cp(top: Path, source: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", top, tmp_path / "copy"], check=True, timeout=60)
    assert _without_times(tmp_path / "copy") == _without_times(source)


def test_cp_with_attributes(top: Path, source: Path, tmp_path: Path) -> None:
    done = subprocess.run(["cp", "-a", top, tmp_path / "copy"], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert read_tree(tmp_path / "copy") == read_tree(source)


def test_tar(top: Path, source: Path, tmp_path: Path) -> None:
    archive = tmp_path / "all.tar"
    subprocess.run(["tar", "-C", top, "-cf", archive, "."], check=True, timeout=60)
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "copy", filter="fully_trusted")
    assert read_tree(tmp_path / "copy") == read_tree(source)


def test_find(top: Path, source: Path) -> None:
    command = ["find", ".", "-printf", r"%y %P\0"]
    found, expected = (
        sorted(subprocess.check_output(command, cwd=here, timeout=60).split(b"\0")) for here in (top, source)
    )
    assert found == expected


def test_md5sum(top: Path, source: Path) -> None:
    command = "find . -type f -print0 | sort -z | xargs -0 md5sum -z"
    found, expected = (
        subprocess.check_output(command, cwd=here, shell=True, timeout=60) for here in (top, source)
    )
    assert found == expected
    assert found.count(b"\0") > 300


def _without_times(top: Path) -> dict[str, tuple[bool, int, str]]:
    return {name: (each.is_folder, each.size, each.digest) for name, each in read_tree(top).items()}


# --- stat ------------------------------------------------------------------------------------------


def test_stat_of_a_file(top: Path, source: Path) -> None:
    status = (top / BIG_NAME).stat()
    assert oct(status.st_mode) == oct(0o100444)
    assert (status.st_size, status.st_nlink, status.st_blocks) == (BIG, 1, -(-BIG // 512))
    assert status.st_mtime_ns == int((source / BIG_NAME).stat().st_mtime) * 1_000_000_000
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())


def test_stat_of_a_folder(top: Path) -> None:
    status = (top / "sizes").stat()
    assert oct(status.st_mode) == oct(0o40555)
    assert status.st_nlink == 1


def test_inode_numbers_are_the_same_in_listing_stat_and_the_next_mount(
    top: Path, running: Served, tmp_path: Path
) -> None:
    def numbers(folder: Path) -> dict[str, int]:
        with os.scandir(folder) as entries:
            listed = {entry.name: entry.inode() for entry in entries}
        assert listed == {name: (folder / name).stat().st_ino for name in listed}
        return listed

    first = numbers(top / "names/files")
    assert len(set(first.values())) == len(first)
    assert numbers(top / "names/files") == first
    with mounted(running, tmp_path) as other:
        assert numbers(other.path.joinpath(*VOLUME_NAME.split("."), "names/files")) == first


def test_statfs_shows_room_and_the_longest_name(top: Path) -> None:
    status = os.statvfs(top)
    assert status.f_namemax == 255
    assert status.f_bavail == status.f_blocks > 0


# --- reads -----------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(size=st.sampled_from(BORDER_SIZES), offset=st.integers(0, BIG + 5000), length=st.integers(0, 2 * MIB))
def test_pread_anywhere(top: Path, source: Path, size: int, offset: int, length: int) -> None:
    assert _pread(top / f"sizes/{size}.bin", offset, length) == _pread(
        source / f"sizes/{size}.bin", offset, length
    )


def _pread(path: Path, offset: int, length: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("size", BORDER_SIZES)
def test_reads_at_and_past_the_end(top: Path, source: Path, size: int) -> None:
    with (top / f"sizes/{size}.bin").open("rb", buffering=0) as stream:
        assert os.pread(stream.fileno(), 100, size) == b""
        assert os.pread(stream.fileno(), 100, size + (1 << 40)) == b""
        assert (
            os.pread(stream.fileno(), 100, max(0, size - 3))
            == (source / f"sizes/{size}.bin").read_bytes()[-3:]
        )
        assert os.lseek(stream.fileno(), 0, os.SEEK_END) == size


def test_backwards_in_small_steps(top: Path, source: Path) -> None:
    expected = (source / BIG_NAME).read_bytes()
    with (top / BIG_NAME).open("rb", buffering=0) as stream:
        for stop in range(BIG, 0, -100 * KIB):
            start = max(0, stop - 100 * KIB)
            assert os.pread(stream.fileno(), stop - start, start) == expected[start:stop]


def test_two_handles_each_with_its_own_place(top: Path, source: Path) -> None:
    expected = (source / BIG_NAME).read_bytes()
    with (top / BIG_NAME).open("rb") as first, (top / BIG_NAME).open("rb") as second:
        second.seek(3 * MIB)
        for step in range(20):
            assert first.read(70_001) == expected[step * 70_001 : (step + 1) * 70_001]
            start = 3 * MIB + step * 70_001
            assert second.read(70_001) == expected[start : start + 70_001]


def test_a_file_removed_on_the_server_is_read_on_from_the_cache(top: Path, source: Path) -> None:
    expected = (source / "odd/to be removed").read_bytes()
    with (top / "odd/to be removed").open("rb") as stream:
        assert stream.read(10) == expected[:10]
        (source / "odd/to be removed").unlink()
        assert stream.read() == expected[10:]
    put_file(source / "odd/to be removed", 1000)


def test_mmap(mount: LiveMount, source: Path) -> None:
    code = """
import hashlib, mmap, random, sys
with open(sys.argv[1], "rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as mapped:
    pages = list(range(0, len(mapped), 4096))
    random.Random(1).shuffle(pages)
    touched = {page: mapped[page] for page in pages}
    assert all(mapped[page] == touched[page] for page in touched)
    print(hashlib.md5(mapped).hexdigest())
"""
    found = mount.run_python(code, Path(*VOLUME_NAME.split("."), BIG_NAME))
    assert found.strip() == read_tree(source / "sizes")[f"{BIG}.bin"].digest


@pytest.mark.parametrize("size", [4096, MIB + 1, BIG])
def test_o_direct(mount: LiveMount, source: Path, size: int) -> None:
    code = """
import hashlib, mmap, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
aligned = mmap.mmap(-1, 256 * 1024)
whole, offset = hashlib.md5(), 0
while count := os.preadv(descriptor, [aligned], offset):
    whole.update(aligned[:count])
    offset += count
print(whole.hexdigest())
"""
    found = mount.run_python(code, Path(*VOLUME_NAME.split("."), f"sizes/{size}.bin"))
    assert found.strip() == read_tree(source / "sizes")[f"{size}.bin"].digest


def test_sendfile(mount: LiveMount, source: Path, tmp_path: Path) -> None:
    code = """
import os, sys
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as target:
    offset = 0
    while count := os.sendfile(target.fileno(), source.fileno(), offset, 1 << 30):
        offset += count
"""
    mount.run_python(code, Path(*VOLUME_NAME.split("."), BIG_NAME), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (source / BIG_NAME).read_bytes()


@pytest.mark.skipif(LIBRARY is None, reason="this Python has no extension modules as files")
def test_a_shared_library_is_loaded_from_the_mount(top: Path, mount: LiveMount) -> None:
    # PyDLL, not CDLL: the module's initialisers belong to the interpreter.
    mount.run_python("import ctypes, sys; ctypes.PyDLL(sys.argv[1])", top / "odd/library.so")


# --- many readers ----------------------------------------------------------------------------------


def test_16_threads(top: Path, source: Path) -> None:
    expected = (source / BIG_NAME).read_bytes()

    def read(seed: int) -> bool:
        chance = random.Random(seed)
        with (top / BIG_NAME).open("rb", buffering=0) as stream:
            spots = [(chance.randrange(BIG), chance.randrange(1, 300 * KIB)) for _ in range(30)]
            return all(os.pread(stream.fileno(), n, at) == expected[at : at + n] for at, n in spots)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(16)))


def test_16_processes_over_the_whole_tree(top: Path, source: Path) -> None:
    command = "find . -type f -print0 | sort -z | xargs -0 md5sum -z | md5sum"
    expected = subprocess.check_output(command, cwd=source, shell=True, timeout=60)
    readers = [subprocess.Popen(command, cwd=top, shell=True, stdout=subprocess.PIPE) for _ in range(16)]
    assert [reader.communicate(timeout=90)[0] for reader in readers] == [expected] * 16


def test_a_descriptor_is_read_after_fork_and_exec(top: Path, source: Path) -> None:
    expected = (source / BIG_NAME).read_bytes()
    with (top / BIG_NAME).open("rb", buffering=0) as stream:
        assert stream.read(1000) == expected[:1000]
        number = stream.fileno()
        reader = [sys.executable, "-c", f"import os; os.write(1, os.read({number}, 50_000))"]
        after = [subprocess.check_output(reader, pass_fds=[number], timeout=30) for _ in range(2)]
        # The offset is of the open file, not of the process: each goes on where the other stopped.
        assert b"".join(after) == expected[1000:101_000]
        assert stream.read(10) == expected[101_000:101_010]


def test_16_forks_read_through_one_descriptor(mount: LiveMount, source: Path) -> None:
    code = """
import hashlib, os, sys
descriptor = os.open(sys.argv[1], os.O_RDONLY)
expected = open(sys.argv[2], "rb").read()
children = []
for number in range(16):
    child = os.fork()
    if not child:
        start = number * 300_000
        os._exit(0 if os.pread(descriptor, 400_000, start) == expected[start:start + 400_000] else 1)
    children.append(child)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""
    mount.run_python(code, Path(*VOLUME_NAME.split("."), BIG_NAME), source / BIG_NAME)
