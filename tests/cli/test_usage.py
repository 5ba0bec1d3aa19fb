"""What a person at a terminal meets when he mistypes: one line, an exit code, and no traceback."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import Field
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks import __version__
from fuse4dbricks.cli.main import commands, main
from fuse4dbricks.cli.mount import mount
from fuse4dbricks.config import MountConfig, flag_of, option_fields

URL = "https://adb-1.azuredatabricks.net"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("FUSE4DBRICKS_", "DATABRICKS_")):
            monkeypatch.delenv(name)


@pytest.fixture
def mnt(tmp_path: Path) -> Path:
    folder = tmp_path / "mnt"
    folder.mkdir()
    return folder


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def line(self) -> str:
        """The only line on stderr."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("fuse4dbricks: ")
        return self.err.strip()


def command(*arguments: object, **environment: str) -> Outcome:
    """The real command, in a process of its own."""
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS_", "FUSE4D"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "fuse4dbricks", *map(str, arguments)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def inside(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """The same in this process, for what ends before anything starts."""
    code = main([*map(str, arguments)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return Outcome(code, captured.out, captured.err)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert __version__ in inside(capsys, "--version").out
    helped = inside(capsys, "--help")
    assert helped.code == 0
    assert all(name in helped.out for name in commands.commands)
    assert "--disk-cache-gb" in inside(capsys, "mount", "--help").out


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    shown = inside(capsys)
    assert shown.code == 2
    assert "Usage:" in shown.out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom fuse4dbricks.cli.main import main\nmain(['mount', '--help'])\n"
        "heavy = {'trio', 'httpx', 'apsw', 'pyfuse3', 'msal', 'rich', 'uvicorn', 'starlette', 'trustme'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("leading", [(), ("mount",)])
def test_mount_may_be_left_out(
    capsys: pytest.CaptureFixture[str], mnt: Path, leading: tuple[str, ...]
) -> None:
    refused = inside(capsys, *leading, "--workspace", URL, "--ram-cache-mb", "1", mnt)
    assert refused.code == 2
    assert refused.line == "fuse4dbricks: --ram-cache-mb must be between 16 and 1048576, not 1"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--disk-cache-gb", "-1"], "--disk-cache-gb must be between"),
        (["--disk-cache-gb", "nan"], "--disk-cache-gb must be between"),
        (["--disk-cache-gb", "ten"], "--disk-cache-gb"),
        (["--ram-cache-mb", "1e3"], "--ram-cache-mb"),
        (["--metadata-cache-ttl-sec", "inf"], "--metadata-cache-ttl-sec must be between"),
        (["--chunk-size-kb", "1000"], "power of two"),
        (["--file-mode", "0999"], "octal"),
        (["--dir-mode", "7777"], "--dir-mode must be between 0000 and 0777, not 7777"),
        (["--uid", "-1"], "--uid must be between"),
        (["--no-such-flag"], "--no-such-flag"),
        (["--token", "dapi0123456789"], "--token"),
        (["one-more-argument"], "one-more-argument"),
    ],
)
def test_bad_options(
    capsys: pytest.CaptureFixture[str], mnt: Path, arguments: list[str], complaint: str
) -> None:
    refused = inside(capsys, "--workspace", URL, mnt, *arguments)
    assert refused.code == 2
    assert complaint in refused.line


def test_no_mount_point(capsys: pytest.CaptureFixture[str]) -> None:
    refused = inside(capsys, "--workspace", URL)
    assert refused.code == 2
    assert "MOUNTPOINT" in refused.line


def test_no_workspace(capsys: pytest.CaptureFixture[str], mnt: Path) -> None:
    refused = inside(capsys, mnt)
    assert refused.code == 2
    assert "--workspace" in refused.line
    assert "DATABRICKS_HOST" in refused.line


def test_every_flag_comes_from_the_environment_too(
    capsys: pytest.CaptureFixture[str], mnt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", URL)
    monkeypatch.setenv("FUSE4DBRICKS_PERMISSION_TTL_SEC", "0")
    assert "--permission-ttl-sec must be between" in inside(capsys, mnt).line
    monkeypatch.setenv("FUSE4DBRICKS_PERMISSION_TTL_SEC", "soon")
    assert "soon" in inside(capsys, mnt).line


SAMPLES = {
    "bool": "yes", "int": "128", "float": "1.5", "Path": "/somewhere", "str": "example.com",
    "Mode": "never", "Presigned": "never",
}  # fmt: skip
#: What not every word of its type is.
SPECIAL_SAMPLES = {"entra_authority": "https://login.example.com:8443"}


@pytest.mark.parametrize("option", list(option_fields()), ids=lambda option: option.name)
def test_each_flag_has_its_variable(monkeypatch: pytest.MonkeyPatch, mnt: Path, option: Field[Any]) -> None:
    given = next(kind for kind in SAMPLES if kind in str(option.type))
    sample = "0440" if option.name.endswith("_mode") else SPECIAL_SAMPLES.get(option.name, SAMPLES[given])
    flag = flag_of(option.name)
    if option.default is True:  # only its contrary says something
        sample, flag = "no", f"--no-{flag.removeprefix('--')}"
    monkeypatch.setenv(f"FUSE4DBRICKS_{option.name.upper()}", sample)
    from_variable = mount.make_context("mount", ["--workspace", URL, str(mnt)]).params
    monkeypatch.delenv(f"FUSE4DBRICKS_{option.name.upper()}")
    words = [flag] + ([] if given == "bool" else [sample])
    from_flag = mount.make_context("mount", ["--workspace", URL, str(mnt), *words]).params
    untouched = mount.make_context("mount", ["--workspace", URL, str(mnt)]).params
    assert from_variable == from_flag != untouched
    del from_flag["mountpoint"], from_flag["workspace"]
    MountConfig(mountpoint=mnt, workspace=URL, **from_flag)


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_is_one_line_unless_asked_for_more(mnt: Path, debug: bool) -> None:
    code = (
        "import sys\nimport fuse4dbricks.app.mount as app\nfrom fuse4dbricks.cli.main import main\n"
        "async def run_mount(config, trust, *, on_ready):\n"
        "    raise ExceptionGroup('two', [KeyError('Bearer canary-0123456789'), ValueError('x')])\n"
        "app.run_mount = run_mount\nsys.exit(main(sys.argv[1:]))\n"
    )
    arguments = ["--workspace", URL, str(mnt), *(["--debug"] if debug else [])]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "(KeyError, ValueError)" in done.stderr.splitlines()[-1]
    assert ("Traceback" in done.stderr) is debug
    assert ("--debug" in done.stderr.splitlines()[-1]) is not debug
    assert "canary" not in done.stderr


@pytest.mark.parametrize("token", ["dapi canary", "canary\x7f", "canary" * 2000, "dapi-canary\nX-Evil: 1"])
def test_a_bad_token_is_named_and_not_shown(
    capsys: pytest.CaptureFixture[str], mnt: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", token)
    refused = inside(capsys, "--workspace", URL, "--debug", mnt)
    assert refused.code == 2
    assert "DATABRICKS_TOKEN" in refused.err
    assert "canary" not in refused.err
    assert "DATABRICKS_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://adb-1.azuredatabricks.net", "https://"),
        ("https://adb 1", "workspace URL"),
        ("https://user:secret@adb-1.azuredatabricks.net", "user"),
    ],
)
def test_malformed_urls(mnt: Path, tmp_path: Path, url: str, complaint: str) -> None:
    refused = command("--workspace", url, "--disk-cache-dir", tmp_path / "cache", mnt)
    assert refused.code == 2
    assert complaint in refused.line
    assert "secret" not in refused.err


@pytest.mark.parametrize("name", ["gone", "file", "full"])
def test_mount_points_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full" / "of things").mkdir(parents=True)
    complaint = {"gone": "mkdir -p", "file": "not a folder", "full": "not empty"}[name]
    refused = command("--workspace", URL, "--disk-cache-dir", tmp_path / "cache", tmp_path / name)
    assert refused.code == 3
    assert complaint in refused.line


def test_no_fusermount3(tmp_path: Path, mnt: Path) -> None:
    refused = command("--workspace", URL, "--disk-cache-dir", tmp_path / "cache", mnt, PATH=str(tmp_path))
    assert refused.code == 3
    # Which of the two is missing first depends on the machine; both name the package or the module to load.
    assert "fuse" in refused.line


@pytest.mark.parametrize("cache", ["mnt", "mnt/cache"])
def test_a_cache_inside_the_mount(tmp_path: Path, mnt: Path, cache: str) -> None:
    refused = command("--workspace", URL, "--disk-cache-dir", tmp_path / cache, mnt)
    assert refused.code in {3, 4}  # 3 where there is no FUSE to begin with
    assert not list(mnt.iterdir())


@pytest.mark.parametrize("kind", ["a file", "foreign", "a link", "world-writable"])
def test_cache_folders_that_cannot_be(tmp_path: Path, mnt: Path, kind: str) -> None:
    pytest.importorskip("pyfuse3")
    cache = tmp_path / "cache"
    if kind == "a file":
        cache.write_text("mine")
    elif kind == "a link":
        (tmp_path / "elsewhere").mkdir()
        cache.symlink_to("elsewhere")
    else:
        cache.mkdir()
        if kind == "foreign":
            (cache / "thesis.tex").write_text("mine")
        else:
            cache.chmod(0o777)
    refused = command("--workspace", URL, "--disk-cache-dir", cache, mnt)
    if not Path("/dev/fuse").exists():
        pytest.skip("/dev/fuse is missing, which is told first")
    assert refused.code == 4
    assert str(cache) in refused.line
    if kind == "foreign":
        assert (cache / "thesis.tex").read_text() == "mine"
    if kind == "world-writable":
        assert stat.S_IMODE(cache.stat().st_mode) == 0o777, "not ours to change"


def test_a_ca_file_that_is_none(tmp_path: Path, mnt: Path) -> None:
    if not Path("/dev/fuse").exists():
        pytest.skip("/dev/fuse is missing, which is told first")
    (tmp_path / "ca.pem").write_text("not PEM")
    for file in ("ca.pem", "gone.pem"):
        refused = command(
            "--workspace", URL, "--disk-cache-dir", tmp_path / "cache", "--ca-file", tmp_path / file, mnt
        )
        assert refused.code == 2
        assert file in refused.line


def test_an_answer_that_finds_no_room_is_told_in_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fuse4dbricks", "cache", "sql"],
            env={**os.environ, "FUSE4DBRICKS_DEBUG": "0"},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "fuse4dbricks: what it has to say cannot be written: No space left on device\n"


@pytest.mark.parametrize(("value", "is_told"), [("0", False), ("false", False), ("1", True), ("yes", True)])
def test_a_variable_that_says_no_shows_no_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: str, is_told: bool
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(commands, "main", fail)
    monkeypatch.setenv("FUSE4DBRICKS_DEBUG", value)
    assert main(["cache", "ls"]) == 1
    assert ("Traceback" in capsys.readouterr().err) is is_told


def test_an_empty_folder_is_not_told_to_be_replaced_by_an_empty_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    refused = inside(capsys, "cache", "ls", "--disk-cache-dir", tmp_path)
    assert refused.code == 4
    assert "it is empty" in refused.line
    assert "a mount makes one" in refused.line
    assert "choose" not in refused.line
