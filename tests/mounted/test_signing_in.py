"""Signing in as people do it: OAuth and profiles from the environment, a device login by a script, several users."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.app.surroundings import FUSE_DEVICE
from tests.support.mounts import LiveMount, mounted
from tests.support.places import names
from tests.support.signing import write_private
from tests.support.trees import put_file
from tests.support.users import NOBODY
from tests.support.waiting import slow, wait_for
from tests.support.workspace import VOLUME_NAME, Served, serve

LOCKED = [".auth", "README.txt"]
OPEN = [".auth", "README.txt", "main"]
ALICE, BOB, CAROL = 61001, 61002, 61003
CANARY = "dapi-canary-0123456789abcdef"

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as several users")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can pass through, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="signing-in-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def entra(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "tree", tls=True) as running:
        running.behaviour.device_interval = 1
        yield running


def status_of(live: LiveMount) -> dict[str, Any]:
    document = json.loads((live.path / ".auth/status.json").read_bytes())
    assert isinstance(document, dict)
    return document


def states(status: Mapping[str, Any]) -> dict[str, str]:
    return {source["source"]: source["outcome"] for source in status["sources"]}


def run_as(
    uid: int, *command: str | Path, environment: Mapping[str, str] | None = None, text: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program as another user, with none of our variables."""
    return subprocess.run(
        command, user=uid, group=uid, extra_groups=[], env={"PATH": os.environ["PATH"], **(environment or {})},
        input=text, capture_output=True, text=True, timeout=60, check=False, cwd="/",
    )  # fmt: skip


def listed_by(uid: int, live: LiveMount, **environment: str) -> list[str]:
    done = run_as(uid, "ls", "-A", live.path, environment=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def told_to(uid: int, live: LiveMount) -> dict[str, Any]:
    document = json.loads(run_as(uid, "cat", live.path / ".auth/status.json").stdout)
    assert isinstance(document, dict)
    return document


# --- the user who mounts -------------------------------------------------------------------------


def test_oauth_of_a_service_principal(workspace: Served, tmp_path: Path) -> None:
    client_id, secret = workspace.people.add_service_principal("robot")
    variables = {"DATABRICKS_CLIENT_ID": client_id, "DATABRICKS_CLIENT_SECRET": secret}
    with mounted(workspace, tmp_path, token="", environment=variables) as live:
        assert names(live.path) == OPEN
        status = status_of(live)
        assert status["principal"]["user_name"] == client_id
        assert status["answered"] == "DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET"
        assert status["expires_at"] > 0
        assert workspace.counts["oidc.token"] == 1


def test_a_token_that_is_revoked_while_fifty_read_is_renewed_once(workspace: Served, tmp_path: Path) -> None:
    """Row S3: nobody is refused, and one new token is asked for."""
    client_id, secret = workspace.people.add_service_principal("robot")
    for number in range(50):
        put_file(workspace.volume / f"f{number}", 300_000)
    variables = {"DATABRICKS_CLIENT_ID": client_id, "DATABRICKS_CLIENT_SECRET": secret}
    with mounted(workspace, tmp_path, "--permission-ttl-sec", "1", token="", environment=variables) as live:
        assert len(names(live.path / "main/sales/raw")) == 50
        for value in list(workspace.people._tokens):
            if workspace.people._tokens[value].user_name == client_id:
                workspace.people.revoke_token(value)
        code = (
            "import concurrent.futures as f, pathlib, sys\n"
            "paths = sorted(pathlib.Path(sys.argv[1]).iterdir())\n"
            "with f.ThreadPoolExecutor(50) as pool: print(sum(map(len, pool.map(pathlib.Path.read_bytes, paths))))\n"
        )
        assert live.run_python(code, "main/sales/raw").split() == [str(50 * 300_000)]
        assert workspace.counts["oidc.token"] == 2


def test_a_service_principal_of_azure(entra: Served, tmp_path: Path) -> None:
    client_id, secret = entra.people.add_service_principal("robot")
    variables = {
        "ARM_CLIENT_ID": client_id, "ARM_CLIENT_SECRET": secret, "ARM_TENANT_ID": entra.settings.tenant,
    }  # fmt: skip
    with mounted(entra, tmp_path, "--entra-authority", entra.url, token="", environment=variables) as live:
        assert names(live.path) == OPEN
        assert status_of(live)["principal"]["user_name"] == client_id


def test_a_profile_of_ones_own(workspace: Served, tmp_path: Path) -> None:
    token = workspace.people.add_user("ada@example.com")
    file = write_private(
        tmp_path / "config",
        f"[DEFAULT]\nhost={workspace.url}\ntoken=unknown\n[mine]\nhost={workspace.url}\ntoken={token}\n",
    )
    variables = {"DATABRICKS_CONFIG_FILE": str(file), "DATABRICKS_CONFIG_PROFILE": "mine"}
    with mounted(workspace, tmp_path, token="", environment=variables) as live:
        assert names(live.path) == OPEN
        assert status_of(live)["principal"]["user_name"] == "ada@example.com"
    with mounted(workspace, tmp_path, "--no-unified-auth", token="", environment=variables) as live:
        assert names(live.path) == LOCKED
        assert set(states(status_of(live))) == {"written to .auth/personal_access_token", "device login"}


def test_the_databricks_cli(workspace: Served, tmp_path: Path) -> None:
    token = workspace.people.add_user("ada@example.com")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/databricks"
    program.write_text(f'#!/bin/sh\nenv > {tmp_path}/env; echo \'{{"access_token": "{token}"}}\'\n')
    program.chmod(0o755)
    file = write_private(tmp_path / "config", f"[DEFAULT]\nhost={workspace.url}\nauth_type=databricks-cli\n")
    variables = {
        "DATABRICKS_CONFIG_FILE": str(file), "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "ARM_CLIENT_SECRET": CANARY,
    }  # fmt: skip
    with mounted(workspace, tmp_path, token="", environment=variables) as live:
        assert names(live.path) == OPEN
    assert CANARY not in (tmp_path / "env").read_text()


def test_what_is_for_another_workspace_is_not_sent(workspace: Served, tmp_path: Path) -> None:
    file = write_private(tmp_path / "config", "[DEFAULT]\nhost=https://other.example\ntoken=dapi-canary\n")
    environment = {"DATABRICKS_HOST": "https://other.example", "DATABRICKS_CONFIG_FILE": str(file)}
    with mounted(workspace, tmp_path, token="dapi-canary", environment=environment) as live:
        assert names(live.path) == LOCKED
        text = (live.path / ".auth/status").read_text()
        assert "other.example" in text
        assert "not used" in text
        assert "canary" not in text
    assert not workspace.log


# --- the device login ----------------------------------------------------------------------------


def approve_when_shown(entra: Served, process: subprocess.Popen[str]) -> str:
    """Read what the program shows, act as the person in front of a browser, and return all that it said."""
    assert process.stdout is not None
    line = process.stdout.readline()
    (login,) = (login for login in entra.entra.get_logins() if login.user_code in line)
    assert f"{entra.authority}/devicelogin" in line
    entra.entra.approve(login.user_code, entra.user)
    rest, _ = process.communicate(timeout=60)
    return line + rest


def login_command(how: str, live: LiveMount) -> list[str]:
    if how == "script":
        return [str(live.path / ".auth/login.sh")]
    return [sys.executable, "-m", "fuse4dbricks", "auth", "login", str(live.path)]


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("how", ["script", "command"])
def test_a_login_that_is_declined_and_then_done(entra: Served, tmp_path: Path, how: str) -> None:
    with mounted(entra, tmp_path, "--entra-authority", entra.url, token="") as live:
        with start(login_command(how, live)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            entra.entra.decline(entra.entra.get_logins()[-1].user_code)
            said, _ = process.communicate(timeout=60)
        assert process.returncode == (1 if how == "script" else 5)
        assert "the login was declined" in said
        assert names(live.path) == LOCKED

        with start(login_command(how, live)) as process:
            said = approve_when_shown(entra, process)
        assert process.returncode == 0, said
        assert f"Done: signed in as {entra.user}" in said
        assert names(live.path) == OPEN
        status = status_of(live)
        assert (status["answered"], status["principal"]["user_name"]) == ("device login", entra.user)

        logout = [sys.executable, "-m", "fuse4dbricks", "auth", "logout", str(live.path)]
        assert subprocess.run(logout, timeout=60, check=False).returncode == 0
        assert names(live.path) == LOCKED


@slow[0]
@slow[1]
@pytest.mark.parametrize("how", ["script", "command"])
def test_a_login_that_is_interrupted(entra: Served, tmp_path: Path, how: str) -> None:
    with mounted(entra, tmp_path, "--entra-authority", entra.url, token="") as live:
        with start(login_command(how, live)) as process:
            assert process.stdout is not None
            assert "To sign in" in process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        assert process.returncode == 130
        assert "state: failed\nmessage: the login was cancelled" in (live.path / ".auth/login").read_text()


@slow[0]
@slow[1]
def test_a_kept_login_outlives_the_mount(entra: Served, tmp_path: Path) -> None:
    options = ("--entra-authority", entra.url, "--keep-logins")
    with mounted(entra, tmp_path, *options, token="") as live:
        (live.path / ".auth/login").write_text("login\n")
        assert wait_for(lambda: "state: waiting" in (live.path / ".auth/login").read_text())
        entra.entra.approve(entra.entra.get_logins()[0].user_code, entra.user)
        assert wait_for(lambda: "state: done" in (live.path / ".auth/login").read_text())
    with mounted(entra, tmp_path, *options, token="") as live:
        assert names(live.path) == OPEN
        (kept,) = live.cache.glob("login-*")
        assert kept.stat().st_mode & 0o777 == 0o600
    with mounted(entra, tmp_path, *options[:2], token="") as live:
        assert names(live.path) == LOCKED
        assert not list(live.cache.glob("login-*"))


# --- what programs do with the control files -----------------------------------------------------


READERS = [
    "cp -r . {0}/copy",
    "tar -cf {0}/all.tar .",
    "find . -type f -exec cat {{}} + > /dev/null",
    "rsync -r ./ {0}/synced",
    "grep -ra x . > /dev/null",
]


def test_the_whole_mount_can_be_read(workspace: Served, tmp_path: Path) -> None:
    put_file(workspace.volume / "a", 1000)
    with mounted(workspace, tmp_path / "m") as live:
        for command in READERS:
            if shutil.which(command.split(maxsplit=1)[0]) is not None:
                done = live.run("sh", "-c", command.format(tmp_path))
                assert (command, done.returncode, done.stderr) == (command, 0, b"")


def test_the_command_tells_the_same_as_the_file(workspace: Served, tmp_path: Path) -> None:
    def ask(*options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fuse4dbricks", "auth", "status", *options, live.path],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    with mounted(workspace, tmp_path, token="") as live:
        locked = ask()
        assert locked.returncode == 5
        assert "no source has a token for you" in locked.stdout
        assert locked.stderr.startswith("fuse4dbricks: you are not signed in")
        (live.path / ".auth/personal_access_token").write_text(workspace.token)
        text, document = ask(), ask("--json")
        assert (text.returncode, document.returncode) == (0, 0)
        assert workspace.user in text.stdout
        assert json.loads(document.stdout)["principal"]["user_name"] == workspace.user
        assert workspace.token not in text.stdout + document.stdout
    gone = ask()
    assert gone.returncode == 3
    assert "not a mount of fuse4dbricks" in gone.stderr


# --- several users -------------------------------------------------------------------------------


@root_only
def test_two_users_two_tokens_one_mount(folder: Path, tmp_path: Path) -> None:
    with serve(tmp_path / "tree", open_to_all=False) as workspace:
        tokens = {uid: workspace.people.add_user(f"user{uid}@example.com") for uid in (ALICE, BOB)}
        workspace.grants.let_read(VOLUME_NAME, f"user{ALICE}@example.com")
        put_file(workspace.volume / "a", 1000)
        with mounted(workspace, folder, "--allow-other", token="") as live:
            for uid, token in tokens.items():
                done = run_as(uid, "sh", "-c", f"cat > {live.path}/.auth/personal_access_token", text=token)
                assert done.returncode == 0, done.stderr
            assert told_to(ALICE, live)["principal"]["user_name"] == f"user{ALICE}@example.com"
            assert told_to(BOB, live)["principal"]["user_name"] == f"user{BOB}@example.com"
            assert told_to(CAROL, live)["principal"] is None
            file = live.path / "main/sales/raw/a"
            assert run_as(ALICE, "wc", "-c", file).stdout.split()[0] == "1000"
            for command in (("cat", file), ("stat", file), ("ls", file.parent)):
                assert run_as(BOB, *command).returncode != 0
            assert listed_by(CAROL, live) == LOCKED


@root_only
def test_nobody_else_replaces_the_single_principal(workspace: Served, folder: Path) -> None:
    """Weakness 22: any user could replace the shared token."""
    intruder = workspace.people.add_user("intruder@example.com")
    with mounted(workspace, folder, "--allow-other", "--single-principal") as live:
        assert sorted(listed_by(BOB, live)) == OPEN
        for file in ("personal_access_token", "login"):
            done = run_as(BOB, "sh", "-c", f"cat > {live.path}/.auth/{file}", text=intruder)
            assert "Permission denied" in done.stderr
        assert told_to(BOB, live)["principal"]["user_name"] == workspace.user
        assert told_to(BOB, live)["identity_uid"] == os.getuid()
        (live.path / ".auth/personal_access_token").write_text(workspace.people.add_user("next@example.com"))
        assert told_to(BOB, live)["principal"]["user_name"] == "next@example.com"


@root_only
def test_each_users_own_profile(workspace: Served, folder: Path) -> None:
    """Alice's file counts; Bob's is hostile, and harms neither him nor her."""
    homes = {uid: folder / f"home{uid}" for uid in (ALICE, BOB)}
    for uid, home in homes.items():
        home.mkdir()
        os.chown(home, uid, uid)
    token = workspace.people.add_user("alice@example.com")
    file = write_private(homes[ALICE] / ".databrickscfg", f"[DEFAULT]\nhost={workspace.url}\ntoken={token}\n")
    os.chown(file, ALICE, ALICE)
    os.mkfifo(homes[BOB] / ".databrickscfg", 0o600)
    os.chown(homes[BOB] / ".databrickscfg", BOB, BOB)
    wrapper = _with_passwd(folder, {**homes, CAROL: folder / "mnt/main/sales/raw"})
    with mounted(workspace, folder, "--allow-other", token="", wrapper=wrapper) as live:
        assert sorted(listed_by(ALICE, live)) == OPEN
        assert told_to(ALICE, live)["answered"] == "your ~/.databrickscfg"
        assert listed_by(BOB, live) == LOCKED
        reasons = {source["source"]: source["detail"] for source in told_to(BOB, live)["sources"]}
        assert "not a regular file" in reasons["your ~/.databrickscfg"]
        reasons = {source["source"]: source["detail"] for source in told_to(CAROL, live)["sources"]}
        assert "inside this mount" in reasons["your ~/.databrickscfg"]
    with mounted(workspace, folder, "--allow-other", "--no-unified-auth", token="", wrapper=wrapper) as live:
        assert listed_by(ALICE, live) == LOCKED


def _with_passwd(folder: Path, homes: Mapping[int, Path]) -> list[str]:
    """A wrapper that shows a program another user database, in a mount namespace that is shared otherwise."""
    lines = [f"user{uid}:x:{uid}:{uid}::{home}:/bin/sh" for uid, home in homes.items()]
    passwd = folder / "passwd"
    passwd.write_text("\n".join([*Path("/etc/passwd").read_text().splitlines(), *lines]) + "\n")
    code = (
        "import os, pwd, sys, runpy, collections\n"
        "lines = [line.split(':') for line in open(sys.argv.pop(1)).read().splitlines()]\n"
        "found = {int(f[2]): pwd.struct_passwd([*f[:2], int(f[2]), int(f[3]), *f[4:]]) for f in lines if len(f) == 7}\n"
        "pwd.getpwuid = found.__getitem__\n"
        "sys.argv = sys.argv[3:]\n"
        "runpy.run_module('fuse4dbricks', run_name='__main__', alter_sys=True)\n"
    )
    return [sys.executable, "-c", code, str(passwd)]


@root_only
def test_the_environment_of_the_asking_process(workspace: Served, folder: Path) -> None:
    token = workspace.people.add_user("alice@example.com")
    variables = {"DATABRICKS_TOKEN": token, "DATABRICKS_HOST": workspace.url}
    with mounted(workspace, folder, "--allow-other", token="") as live:
        assert listed_by(ALICE, live, **variables) == LOCKED
    with mounted(workspace, folder, "--allow-other", "--auth-from-process-env", token="") as live:
        assert listed_by(BOB, live, **{**variables, "DATABRICKS_HOST": "https://other.example"}) == LOCKED
        assert sorted(listed_by(ALICE, live, **variables)) == OPEN
        assert listed_by(BOB, live) == LOCKED


@root_only
def test_a_system_user_without_homes_serves_written_tokens(workspace: Served, folder: Path) -> None:
    """No HOME, no access to anybody's, no configuration."""
    if not FUSE_DEVICE.stat().st_mode & 0o006:
        pytest.skip(f"{FUSE_DEVICE} is for root only here")
    daemon = NOBODY
    (folder / "mnt").mkdir()
    for path in (folder, folder / "mnt"):
        os.chown(path, daemon, daemon)
    # It becomes that user once everything is imported: the interpreter's folder may be closed to him.
    code = (
        "import codecs, importlib.readers, os, sys, fuse4dbricks.cli.main, fuse4dbricks.app.mount\n"
        "for name in ('ascii', 'idna', 'latin-1'): codecs.lookup(name)\n"
        f"os.setgroups([]); os.setresgid(*3 * ({daemon},)); os.setresuid(*3 * ({daemon},)); del os.environ['HOME']\n"
        "from fuse4dbricks.cli.main import main\n"
        "sys.exit(main(sys.argv[4:]))\n"
    )
    with mounted(workspace, folder, token="", wrapper=[sys.executable, "-c", code]) as live:
        assert listed_by(daemon, live) == LOCKED
        reasons = {source["source"]: source["detail"] for source in told_to(daemon, live)["sources"]}
        assert "there is no" in reasons["~/.databrickscfg"]
        written = run_as(
            daemon, "sh", "-c", f"cat > {live.path}/.auth/personal_access_token", text=workspace.token
        )
        assert written.returncode == 0, written.stderr
        assert sorted(listed_by(daemon, live)) == OPEN
