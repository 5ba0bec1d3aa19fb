"""``fuse4dbricks cache warm``: by the mount and alone, resumed, checked, refused, and when the other end goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.devworkspace.effects import Hang, Status
from tests.support.commands import asked, run
from tests.support.mounts import LiveMount, mounted
from tests.support.sales import SIZES, TOTAL, make, read_all
from tests.support.waiting import wait_for
from tests.support.workspace import VOLUME, Served

RANGE = "fs.files.get"


def is_whole(file: dict[str, Any]) -> bool:
    return bool(file["cached_bytes"] == file["size"])


def test_all_of_a_folder_is_fetched_once_and_read_without_the_workspace(
    live: LiveMount, served: Served
) -> None:
    planned = asked(live.cache, "warm", VOLUME, "--dry-run")
    assert (planned["files"], planned["to_fetch_bytes"], planned["calls"]) == (len(SIZES), TOTAL, len(SIZES))
    assert served.counts[RANGE] == 0
    done = asked(live.cache, "warm", live.path / "main/sales/raw", "--check")
    assert (done["fetched_bytes"], done["calls_made"]) == (TOTAL, len(SIZES))
    assert (done["checked_files"], done["incomplete_files"], done["failed"]) == (len(SIZES), 0, 0)
    assert served.counts[RANGE] == len(SIZES)
    told = run(live.cache, "warm", VOLUME)
    assert "all of it cached already" in told.stderr
    assert read_all(live) == make(served)
    assert served.counts[RANGE] == len(SIZES)
    assert asked(live.cache, "check")["clean"]


def test_a_path_may_be_written_as_databricks_tools_write_it(live: LiveMount) -> None:
    assert asked(live.cache, "warm", f"dbfs:{VOLUME}/b.csv")["files"] == 1
    for command in ("ls", "du"):
        assert asked(live.cache, command, f"dbfs:{VOLUME}") == asked(live.cache, command, VOLUME)
    run(live.cache, "ls", "dbfs:/tmp", code=2)


def test_one_code_says_that_a_path_is_not_there(live: LiveMount, served: Served) -> None:
    for command in (["warm"], ["warm", "--dry-run"], ["pin"], ["unpin"]):
        assert run(live.cache, *command, f"{VOLUME}/none such", code=9).stderr.count("\n") >= 1
    served.faults.add(Status(status=403, error_code="PERMISSION_DENIED"), kind=RANGE, path="*b.csv")
    both = asked(live.cache, "warm", f"{VOLUME}/none such", VOLUME, code=6)
    assert (both["absent"], both["failed"]) == (1, 2)


def test_a_list_of_paths_is_fetched_whatever_is_wrong_with_some(live: LiveMount, tmp_path: Path) -> None:
    wanted = tmp_path / "list"
    wanted.write_text(f"{VOLUME}/b.csv\n\n{VOLUME}/none such\n{live.path}/main/sales/raw/sub\n")
    done = asked(live.cache, "warm", "--from-list", wanted, code=9)
    assert (done["files"], done["failed"], done["absent"]) == (2, 1, 1)
    assert "none such" in done["problems"][0]
    assert done["fetched_bytes"] == SIZES["b.csv"] + SIZES["sub/c.bin"]


@contextmanager
def interrupted(cache: Path, *options: str) -> Iterator[None]:
    """A `cache warm` of the volume, which gets a Ctrl-C at the end of the block and must end as it should."""
    command = [sys.executable, "-m", "fuse4dbricks", "cache", "warm", VOLUME, *options]
    process = subprocess.Popen(
        [*command, "--disk-cache-dir", str(cache)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert out == b""


def test_what_is_interrupted_goes_on(live: LiveMount, served: Served) -> None:
    stuck = served.faults.add(Hang(), kind=RANGE, path="*c.bin")
    with interrupted(live.cache):
        assert wait_for(lambda: stuck.fired > 0)
        assert wait_for(lambda: [is_whole(each) for each in asked(live.cache, "ls")["files"]] == [True, True])
    assert wait_for(lambda: served.journal.get_in_flight()[RANGE] == 0)
    stuck.remove()
    again = asked(live.cache, "warm", VOLUME)
    assert again["cached_bytes"] == TOTAL - SIZES["sub/c.bin"]
    assert again["fetched_bytes"] == SIZES["sub/c.bin"]


def test_a_mount_that_goes_in_the_middle_is_told(live: LiveMount, served: Served) -> None:
    stuck = served.faults.add(Hang(), kind=RANGE)
    command = [
        sys.executable,
        "-m",
        "fuse4dbricks",
        "cache",
        "warm",
        VOLUME,
        "--disk-cache-dir",
        str(live.cache),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert wait_for(lambda: stuck.fired > 0)
        live.kill()
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 4
    assert b"has gone" in err.splitlines()[-1]
    assert b"Traceback" not in err


def test_what_would_push_itself_out_is_refused(served: Served, tmp_path: Path) -> None:
    with mounted(served, tmp_path / "small", "--disk-cache-gb", "0.003") as running:
        assert "would be refused" in run(running.cache, "warm", VOLUME, "--dry-run").stdout
        assert "push itself out" in run(running.cache, "warm", VOLUME, code=4).stderr
        assert served.counts[RANGE] == 0
        assert asked(running.cache, "warm", f"{VOLUME}/b.csv")["fetched_bytes"] == SIZES["b.csv"]


def test_files_larger_than_all_ram_and_one_that_fails(served: Served, tmp_path: Path) -> None:
    content = os.urandom(40 * 1024 * 1024)
    (served.volume / "large").write_bytes(content)
    served.faults.add(Status(status=403, error_code="PERMISSION_DENIED"), kind=RANGE, path="*b.csv")
    with mounted(served, tmp_path, "--ram-cache-mb", "16") as running:
        done = asked(running.cache, "warm", f"{VOLUME}/large", "--check")
        assert (done["calls_made"], done["checked_bytes"]) == (5, len(content))
        assert (running.path / "main/sales/raw/large").read_bytes() == content
        assert served.counts[RANGE] == 5
        assert "PERMISSION_DENIED" in asked(running.cache, "warm", VOLUME, code=6)["problems"][0]


def test_who_has_no_token_is_told_so(served: Served, tmp_path: Path) -> None:
    with mounted(served, tmp_path, token="") as running:
        assert "nobody is signed in" in run(running.cache, "warm", VOLUME, code=5).stderr


# The served workspace may have a connection half accepted when it goes down, which its loop then warns of.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_outage_is_told_as_one(live: LiveMount, served: Served) -> None:
    served.go_down()
    assert "cannot be reached" in run(live.cache, "warm", VOLUME, code=7).stderr


# As above.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_in_an_outage_nobody_waits_for_what_is_missing(live: LiveMount, served: Served) -> None:
    """All names are known, so the first that is asked of the workspace is bytes."""
    asked(live.cache, "warm", VOLUME)
    asked(live.cache, "evict", f"{VOLUME}/a.bin")
    served.go_down()
    with pytest.raises(OSError, match="No route to host"):
        (live.path / "main/sales/raw/a.bin").read_bytes()
    words = ["cache", "warm", VOLUME, "--disk-cache-dir", str(live.cache)]
    command = [sys.executable, "-m", "fuse4dbricks", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "cannot be reached" in done.stderr) == (7, True), done.stderr
    assert asked(live.cache, "warm", f"{VOLUME}/b.csv")["to_fetch_bytes"] == 0


# --- alone ---------------------------------------------------------------------------------------


@pytest.fixture
def signed_in(served: Served, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setenv("DATABRICKS_TOKEN", served.token)
    return served


def test_without_a_mount_it_works_alone_and_the_next_mount_finds_it(
    signed_in: Served, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    done = asked(cache, "warm", VOLUME, "--check", "--workspace", signed_in.url)
    assert (done["fetched_bytes"], done["checked_files"]) == (TOTAL, len(SIZES))
    assert asked(cache, "check")["clean"]
    with mounted(signed_in, tmp_path) as running:
        assert read_all(running) == make(signed_in)
        assert signed_in.counts[RANGE] == len(SIZES)


def test_alone_too_what_is_interrupted_goes_on(signed_in: Served, tmp_path: Path) -> None:
    stuck = signed_in.faults.add(Hang(), kind=RANGE, path="*c.bin")
    cache = tmp_path / "cache"
    with interrupted(cache, "--workspace", signed_in.url):
        assert wait_for(lambda: stuck.fired > 0)
        assert wait_for(lambda: [is_whole(each) for each in asked(cache, "ls")["files"]] == [True, True])
    stuck.remove()
    assert asked(cache, "check")["clean"]
    again = asked(cache, "warm", VOLUME, "--workspace", signed_in.url)
    assert again["fetched_bytes"] == SIZES["sub/c.bin"]


def test_alone_it_keeps_to_the_limits_of_the_last_mount(signed_in: Served, tmp_path: Path) -> None:
    with mounted(signed_in, tmp_path, "--disk-cache-gb", "0.003") as running:
        assert running.stop() == 0
    refused = run(running.cache, "warm", VOLUME, "--workspace", signed_in.url, code=4)
    assert "push itself out" in refused.stderr


def test_without_a_mount_and_a_workspace_it_says_what_is_missing(tmp_path: Path) -> None:
    assert "mount first" in run(tmp_path / "cache", "warm", VOLUME, code=2).stderr
    assert not (tmp_path / "cache").exists()
