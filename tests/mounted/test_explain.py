"""``fuse4dbricks explain`` on a real mount, for its owner and for other local users."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.devworkspace.effects import Status
from tests.support.local_users import ALICE, BOB, CAROL, LocalUser, needs_root, open_folder
from tests.support.mounts import LiveMount, mounted
from tests.support.places import Place
from tests.support.trees import put_file
from tests.support.waiting import wait_for
from tests.support.workspace import Served, serve

MIB = 1024 * 1024


def explain(
    path: str | Path, *options: str | Path, cwd: Path | str = "/"
) -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own."""
    command = [sys.executable, "-m", "fuse4dbricks", "explain", *options, path]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def told(path: str | Path, *options: str | Path, code: int = 0, cwd: Path | str = "/") -> dict[str, Any]:
    done = explain(path, "--json", *options, cwd=cwd)
    assert (done.returncode, done.stderr) == (code, "")
    answer = json.loads(done.stdout)
    assert isinstance(answer, dict)
    return answer


def test_a_file_before_and_after_it_is_read(place: Place, served: Served) -> None:
    place.put("d/a", 3 * MIB)
    path = place.top / "d/a"
    answer = told(path)
    assert (answer["verdict"], answer["path"]) == ("readable", f"{place.remote}/d/a")
    assert answer["cached"] is None
    served.journal.clear()
    path.read_bytes()
    assert served.counts.total() <= answer["next_open"]["calls"] == 3 + 2 + 1
    assert wait_for(lambda: told(path)["cached"]["disk_ranges"] == [[0, 3 * MIB - 1]])
    answer = told("a", cwd=path.parent)
    assert answer["next_open"]["calls"] == 0
    assert answer["cached"]["owners"] == [served.user]
    shown = explain(path)
    assert shown.returncode == 0
    assert "You can read it: the workspace lets you read it." in shown.stdout
    assert "cached        all of 3.0 MiB" in shown.stdout
    assert "next reading  no calls" in shown.stdout


def test_what_cannot_be_looked_at_is_explained_all_the_same(place: Place, served: Served) -> None:
    place.put("a", 10)
    assert told(place.top / "none", code=9)["verdict"] == "absent"
    refusal = Status(status=403, error_code="PERMISSION_DENIED", message="User does not have READ VOLUME.")
    with_fault = served.faults.add(refusal, kind="fs.directories.list")
    answer = told(place.top / "a", code=8)
    with_fault.remove()
    failure = answer["steps"][3]["failure"]
    assert failure["said"] == "User does not have READ VOLUME."
    assert (failure["status"], failure["error_code"]) == (403, "PERMISSION_DENIED")
    assert failure["request_id"]
    assert answer["cached"] is None


def test_links_and_roundabout_paths_lead_there(place: Place, tmp_path: Path) -> None:
    place.put("a", 10)
    (tmp_path / "link").symlink_to(place.top)
    (tmp_path / "round").symlink_to("link")
    for path in ("link/a", "round/a", "link/./x/../a", f"link/../{place.top.name}/a"):
        assert told(path, cwd=tmp_path)["path"] == f"{place.remote}/a"
    assert told(f"{place.remote}/a", "--mountpoint", place.top.parents[2])["verdict"] == "readable"


def test_what_is_in_no_mount(tmp_path: Path, shared: LiveMount) -> None:
    for arguments in ((tmp_path,), (tmp_path / "none",), ("/Volumes/main", "--mountpoint", tmp_path)):
        done = explain(*arguments)
        assert done.returncode == 3
        assert done.stderr.startswith("fuse4dbricks: ")
        assert done.stderr.count("\n") == 1


def test_shells_can_ask(place: Place, shared: LiveMount) -> None:
    place.put("a", 10)
    script = 'exec 3<> .auth/explain; printf %s "$1" >&3; cat <&3'
    done = shared.run("bash", "-c", script, "bash", f"{place.remote}/a")
    assert json.loads(done.stdout)["verdict"] == "readable"
    assert b"Write a path" in (shared.path / ".auth/explain").read_bytes()


def test_while_the_workspace_is_away(workspace: Served, tmp_path: Path) -> None:
    put_file(workspace.volume / "a", 10)
    put_file(workspace.volume / "b", 10)
    with mounted(workspace, tmp_path / "m") as live:
        top = live.path / "main/sales/raw"
        (top / "a").read_bytes()
        workspace.go_down()
        answer = told(top / "a")
        assert (answer["verdict"], answer["steps"][0]["standing"]) == ("readable", "unknown")
        assert told(top / "b", code=7)["verdict"] == "unknown"


# --- other local users ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Crowd:
    """A mount that alice and bob share; carol has no token."""

    served: Served
    live: LiveMount
    users: dict[str, LocalUser]

    def told(self, name: str, question: str) -> dict[str, Any]:
        said = self.users[name].do(
            "fd = os.open(path, os.O_RDWR)\n"
            "os.write(fd, question.encode())\n"
            "out = ''.join(iter(lambda: os.read(fd, 65536).decode(), ''))\n"
            "os.close(fd)",
            path=str(self.live.path / ".auth/explain"),
            question=question,
        )
        answer = json.loads(said)
        assert isinstance(answer, dict)
        assert answer["local_user"] == self.users[name].uid
        return answer


@pytest.fixture(scope="module")
def crowd() -> Iterator[Crowd]:
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        served = stack.enter_context(serve(folder / "tree", open_to_all=False))
        put_file(served.volume / "f", 300_000)
        options = ("--allow-other", "--permission-ttl-sec", "1")
        live = stack.enter_context(mounted(served, folder / "m", *options, token=""))
        users = {}
        for name, uid in (("alice", ALICE), ("bob", BOB), ("carol", CAROL)):
            users[name] = stack.enter_context(LocalUser(uid, live.path))
            if name != "carol":
                users[name].write_token(live.path, served.people.add_user(f"{name}@example.com"))
                served.grants.grant("main", f"{name}@example.com", "USE_CATALOG")
                served.grants.grant("main.sales", f"{name}@example.com", "USE_SCHEMA")
        served.grants.let_read("main.sales.raw", "alice@example.com")
        yield Crowd(served, live, users)


@needs_root
def test_each_user_is_told_of_himself(crowd: Crowd) -> None:
    path = crowd.live.path / "main/sales/raw/f"
    crowd.users["alice"].do("with open(path, 'rb') as stream: stream.read()", path=str(path))
    alice = crowd.told("alice", "main/sales/raw/f")
    assert (alice["verdict"], alice["principal"]["user_name"]) == ("readable", "alice@example.com")
    assert alice["cached"]["complete"]
    bob = crowd.told("bob", "main/sales/raw/f")
    assert (bob["verdict"], bob["principal"]["user_name"]) == ("refused", "bob@example.com")
    refused = next(step for step in bob["steps"] if step["standing"] == "refused")
    assert refused["name"] == "main.sales.raw"
    assert refused["failure"]["request_id"]
    carol = crowd.told("carol", "main/sales/raw/f")
    assert (carol["verdict"], carol["principal"]) == ("not_signed_in", None)
    for answer in (bob, carol):
        assert answer["cached"] is answer["next_open"] is None
        assert "alice" not in json.dumps(answer)
        assert "300000" not in json.dumps(answer)


@needs_root
def test_attributes_of_a_file_are_for_its_readers(crowd: Crowd) -> None:
    path = str(crowd.live.path / "main/sales/raw/f")
    ask, names = "os.getxattr(path, 'user.fuse4dbricks.cached_bytes')", "os.listxattr(path)"
    alice, bob = crowd.users["alice"], crowd.users["bob"]
    assert alice.do(f"out = len({names})", path=path) >= 4
    for each in (ask, names):
        assert bob.fail(each, path=path) in {"EACCES", "ENOENT"}
    crowd.served.grants.let_read("main.sales.raw", "bob@example.com")
    assert wait_for(lambda: not bob.fail(ask, path=path))
    bob.do("held = os.open(path, os.O_RDONLY)", path=path)
    crowd.served.grants.revoke("main.sales.raw", "bob@example.com")
    held = "os.getxattr(held, 'user.fuse4dbricks.cached_bytes')"
    assert wait_for(lambda: bob.fail(held) == "EACCES"), "an open descriptor is no right"
    assert not alice.fail(ask, path=path)


def test_a_mount_for_one_user_is_closed_to_others(crowd: Crowd, workspace: Served) -> None:
    if os.geteuid() != 0:
        pytest.skip("acting as other users takes root")
    with open_folder() as folder, mounted(workspace, folder) as live:
        file = str(live.path / ".auth/explain")
        assert crowd.users["bob"].fail("os.open(path, os.O_RDWR)", path=file) == "EACCES"
