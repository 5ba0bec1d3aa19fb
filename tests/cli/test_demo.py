"""``fuse4dbricks demo`` and ``local-workspace``: they work as a person would use them, and clean up."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fuse4dbricks.app.surroundings import unmount_lazily
from fuse4dbricks.fuse.connection import find_mount
from tests.support.mounts import mounted, needs_fuse


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command with ``folder`` for its temporary files; killed in the end if it is still there."""
    with subprocess.Popen(
        [sys.executable, "-m", "fuse4dbricks", *arguments],
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What it prints, up to the line with ``words``."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def read_rest(process: subprocess.Popen[str]) -> str:
    """What it prints until it and all who share its output have ended."""
    assert process.stdout is not None
    return process.stdout.read()


def try_suggestions(said: str, folder: Path) -> None:
    """Run what the demo says to try, except for copies to /tmp."""
    lines = [line for line in re.findall(r"^  (\S.*)$", said, re.MULTILINE) if "cp -r" not in line]
    assert len(lines) >= 4
    for line in lines:
        done = subprocess.run(line, shell=True, cwd=folder, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, line + done.stderr.decode()
        assert done.stdout or "tar" in line, line


@needs_fuse
@pytest.mark.mounted
@pytest.mark.parametrize("end", ["SIGINT", "SIGKILL"])
def test_a_demo_leaves_nothing_behind(tmp_path: Path, end: str) -> None:
    with running(tmp_path, "demo") as process:
        said = read_until(process, "Ctrl-C ends it")
        match = re.search(r"mounted on (\S+),", said)
        assert match is not None, said
        mountpoint = Path(match[1])
        assert mountpoint.is_relative_to(tmp_path)
        try:
            if end == "SIGINT":
                try_suggestions(said, tmp_path)
            process.send_signal(signal.Signals[end])
            rest = read_rest(process)
            assert process.wait(30) == (-signal.SIGKILL if end == "SIGKILL" else 0), rest
            assert "Traceback" not in rest
            assert find_mount(mountpoint) is None
            assert not list(tmp_path.iterdir())
        finally:
            if find_mount(mountpoint) is not None:
                unmount_lazily(mountpoint)


@needs_fuse
@pytest.mark.mounted
def test_a_demo_on_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "temporary").mkdir()
    with running(tmp_path / "temporary", "demo", str(tmp_path / "here")) as process:
        read_until(process, "Ctrl-C ends it")
        large = tmp_path / "here/research/sensors/raw/one large file.bin"
        source = next((tmp_path / "temporary").glob("*/lake")) / large.relative_to(tmp_path / "here")
        assert hashlib.md5(large.read_bytes()).digest() == hashlib.md5(source.read_bytes()).digest()
        process.send_signal(signal.SIGINT)
        read_rest(process)
        assert process.wait(30) == 0
    assert not list((tmp_path / "temporary").iterdir())
    assert not list((tmp_path / "here").iterdir()), "the folder itself stays, empty as before"


@needs_fuse
@pytest.mark.mounted
def test_a_demo_leaves_a_live_mount_alone(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    with mounted("https://127.0.0.1:9", tmp_path) as mount:
        with running(tmp_path / "temporary", "demo", str(mount.path)) as process:
            assert "already mounted" in read_rest(process)
            assert process.wait(30) == 3
        assert mount.is_mounted
        assert (mount.path / "README.txt").read_text()
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGHUP])
def test_a_local_workspace_answers_and_ends(tmp_path: Path, end: signal.Signals) -> None:
    (tmp_path / "tree/main/sales/raw").mkdir(parents=True)
    (tmp_path / "temporary").mkdir()
    with running(
        tmp_path / "temporary", "local-workspace", str(tmp_path / "tree"), "--user", "me@example.com"
    ) as process:
        said = read_until(process, "--workspace")
        match = re.search(r"DATABRICKS_TOKEN=(\S+) fuse4dbricks --workspace (\S+) MOUNTPOINT", said)
        assert match is not None, said
        request = urllib.request.Request(f"{match[2]}/api/2.0/preview/scim/v2/Me")
        request.add_header("Authorization", f"Bearer {match[1]}")
        with urllib.request.urlopen(request, timeout=30) as reply:
            assert b"me@example.com" in reply.read()
        process.send_signal(end)
        assert read_rest(process) == ""
        assert process.wait(30) == 0
    assert not list((tmp_path / "temporary").iterdir())


def test_a_local_workspace_over_tls_names_its_authority(tmp_path: Path) -> None:
    with running(tmp_path, "local-workspace", str(tmp_path), "--tls") as process:
        said = read_until(process, "--workspace")
        match = re.search(r"--workspace https://\S+ --ca-file (\S+) MOUNTPOINT", said)
        assert match is not None, said
        assert "BEGIN CERTIFICATE" in Path(match[1]).read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with running(tmp_path, "local-workspace", str(tmp_path)) as first:
        said = read_until(first, "--workspace")
        port = re.findall(r":(\d+)", said)[0]
        with running(tmp_path, "local-workspace", str(tmp_path), "--port", port) as second:
            rest = read_rest(second)
            assert rest.count("\n") == 1
            assert f"port {port}" in rest
            assert second.wait(30) == 2


def test_without_the_extra_there_is_one_line(tmp_path: Path) -> None:
    blocker = "import sys; sys.modules['uvicorn'] = None; from fuse4dbricks.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for arguments in (["local-workspace", str(tmp_path)], ["demo"]):
        done = subprocess.run(
            [sys.executable, "-c", blocker, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "pip install 'fuse4dbricks[demo]'" in done.stderr
