"""A root daemon reads a file that belongs to somebody who wishes it ill (rows S8; weakness 4)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuse4dbricks.auth.config_file import FILE_NAME, MAX_FILE_BYTES, read_file_in_home, read_own_file
from fuse4dbricks.auth.source import Outcome, SourceFailure
from tests.support.signing import write_private

ME = os.getuid()
NOT_ME = 65533
TEXT = "[DEFAULT]\nhost = x\n"


def read(home: Path, *, uid: int = ME, device: int | None = None) -> str:
    return read_file_in_home(home, uid=uid, is_ours=lambda found: found == device)


def refusal(home: Path, *, uid: int = ME, device: int | None = None) -> str:
    with pytest.raises(SourceFailure) as info:
        read(home, uid=uid, device=device)
    assert not info.value.is_outage
    return str(info.value)


def test_a_plain_file_of_ones_own(tmp_path: Path) -> None:
    write_private(tmp_path / FILE_NAME, TEXT)
    assert read(tmp_path) == TEXT


def test_no_file_is_no_failure(tmp_path: Path) -> None:
    with pytest.raises(SourceFailure) as info:
        read(tmp_path)
    assert info.value.outcome is Outcome.NOTHING
    with pytest.raises(SourceFailure) as info:
        read(tmp_path / "no such home")
    assert info.value.outcome is Outcome.NOTHING


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    """A writer that waits for a reader would be let go by an open: it must go on waiting."""
    os.mkfifo(tmp_path / FILE_NAME, 0o600)
    assert "not a regular file" in refusal(tmp_path)
    with pytest.raises(OSError, match="No such device"):
        os.open(tmp_path / FILE_NAME, os.O_WRONLY | os.O_NONBLOCK)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write_private(tmp_path / "secret", TEXT)
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "secret")
    assert "symbolic link" in refusal(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "dangling")
    assert "symbolic link" in refusal(tmp_path)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir(mode=0o700)
    assert "not a regular file" in refusal(tmp_path)


def test_a_socket(tmp_path: Path) -> None:
    code = "import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, FILE_NAME], cwd=tmp_path, check=True, timeout=30)
    assert "not a regular file" in refusal(tmp_path)


@pytest.mark.skipif(ME != 0, reason="only root can make devices")
def test_a_device_is_not_opened(tmp_path: Path) -> None:
    # Number 1:7 is /dev/full; whatever it is, it is not opened.
    os.mknod(tmp_path / FILE_NAME, 0o600 | 0o020000, os.makedev(1, 7))
    assert "not a regular file" in refusal(tmp_path)


@pytest.mark.skipif(ME != 0, reason="only root can give files away")
def test_somebody_elses_file(tmp_path: Path) -> None:
    write_private(tmp_path / FILE_NAME, TEXT)
    assert "belongs to uid 0" in refusal(tmp_path, uid=NOT_ME)
    os.chown(tmp_path / FILE_NAME, NOT_ME, NOT_ME)
    assert read(tmp_path, uid=NOT_ME) == TEXT
    assert f"belongs to uid {NOT_ME}" in refusal(tmp_path)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write(tmp_path: Path, mode: int) -> None:
    write_private(tmp_path / FILE_NAME, TEXT)
    (tmp_path / FILE_NAME).chmod(mode)
    assert "chmod go-w" in refusal(tmp_path)


def test_a_file_of_a_hundred_megabytes(tmp_path: Path) -> None:
    write_private(tmp_path / FILE_NAME, "")
    os.truncate(tmp_path / FILE_NAME, 100 << 20)
    assert "longer than" in refusal(tmp_path)


def test_the_longest_file(tmp_path: Path) -> None:
    write_private(tmp_path / FILE_NAME, "#" * MAX_FILE_BYTES)
    assert len(read(tmp_path)) == MAX_FILE_BYTES


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    write_private(tmp_path / FILE_NAME, "")
    (tmp_path / FILE_NAME).write_bytes(b"token = \xff\xfe")
    assert "UTF-8" in refusal(tmp_path)


def test_a_home_in_our_own_mount(tmp_path: Path) -> None:
    write_private(tmp_path / FILE_NAME, TEXT)
    assert "inside this mount" in refusal(tmp_path, device=tmp_path.stat().st_dev)


def test_ones_own_file_may_be_a_link_but_is_checked_too(tmp_path: Path) -> None:
    target = write_private(tmp_path / "dotfiles", TEXT)
    (tmp_path / FILE_NAME).symlink_to(target)
    assert read_own_file(tmp_path / FILE_NAME, uid=ME, is_ours=lambda _: False) == TEXT
    target.chmod(0o666)
    with pytest.raises(SourceFailure, match="chmod go-w"):
        read_own_file(tmp_path / FILE_NAME, uid=ME, is_ours=lambda _: False)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(SourceFailure, match="not a regular file"):
        read_own_file(tmp_path / "fifo", uid=ME, is_ours=lambda _: False)
