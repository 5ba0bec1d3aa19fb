"""``fuse4dbricks cache-stats``: every form, every option, every folder that is no cache, and the exit codes."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from fuse4dbricks.cache.statistics import DIMENSIONS, SCHEMA_VERSION, Statistics
from fuse4dbricks.cli.main import main
from fuse4dbricks.units import MIB
from tests.support.caches import COUNTS, NASTY, make_cache

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stats") / "cache"
    trio.run(make_cache, folder)
    return folder


@pytest.fixture
def captured(capfd: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    return capfd


def run(captured: pytest.CaptureFixture[str], cache: Path, *options: str) -> str:
    assert main(["cache-stats", "--disk-cache-dir", str(cache), *options]) == 0
    out, err = captured.readouterr()
    assert err == ""
    return out


def refuse(captured: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    assert main(["cache-stats", *arguments]) == code
    out, err = captured.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def document(captured: pytest.CaptureFixture[str], cache: Path, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(captured, cache, "--json", *options))
    return found


# --- forms -----------------------------------------------------------------------------------------


def test_plain_text_holds_the_figures_and_nothing_a_terminal_obeys(
    captured: pytest.CaptureFixture[str], cache: Path
) -> None:
    text = run(captured, cache)
    assert re.search(r"cache folder +[\d.]+ MiB +of 100\.0 MiB\n", text)
    assert re.search(r"RAM +60 +6\.0 MiB +60\.0 % +60\.0 %\n", text)
    assert re.search(r"disk +30 +1\.0 MiB +75\.0 % +25\.0 %\n", text)
    assert "Downloaded 4.0 MiB, saved 6.0 MiB" in text
    assert re.search(r"range +5\n", text)
    assert "7 in all; 0 told to slow down (429); 1 sent again (status 503 1)" in text
    assert re.search(r"main\.sales\.volume2 +1 +3 +3\.0 MiB\n", text)
    assert r"\x1b[31m\u202e<script>" in text
    assert not re.search(r"[^\n -~–]", text.replace("∕", "/"))


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_by(captured: pytest.CaptureFixture[str], cache: Path, dimension: str) -> None:
    text = run(captured, cache, "--by", dimension)
    assert re.search(rf"\n  {dimension} +", text)
    shown = document(captured, cache, "--by", dimension)["groups"]
    assert list(shown) == [dimension]
    assert sum(group["bytes"] for group in shown[dimension]) == 6 * MIB
    for group in shown[dimension]:
        assert group["name"] in text


def test_top(captured: pytest.CaptureFixture[str], cache: Path) -> None:
    text = run(captured, cache, "--by", "user", "--top", "1")
    assert "user2@example.com" in text
    assert "user0@example.com" not in text
    assert "and 2 more with 3.0 MiB" in text
    assert len(document(captured, cache, "--top", "1")["top_files"]) == 1
    assert len(document(captured, cache)["top_files"]) == 3


def test_json_is_what_the_readme_says(captured: pytest.CaptureFixture[str], cache: Path) -> None:
    found = document(captured, cache)
    assert found["schema_version"] == SCHEMA_VERSION == 1
    assert found["counters"] == dict(sorted(COUNTS.items()))
    assert found["top_files"][0]["path"] == f"main/sales/volume2/{NASTY}"
    _, _, table = README.partition("\n| field |")
    told = re.findall(r"^\| `(\w+)` \|", table.split("\n\n")[0], re.MULTILINE)
    assert told == list(Statistics._fields) == list(found)
    for name in told:
        (row,) = re.findall(rf"^\| `{name}` \| (.*) \|$", table.split("\n\n")[0], re.MULTILINE)
        inner = found[name]
        if isinstance(inner, dict) and name not in {"counters", "metadata"}:
            assert inner.keys() <= set(re.findall(r"`(\w+)`", row)), name


def test_prometheus(captured: pytest.CaptureFixture[str], cache: Path) -> None:
    text = run(captured, cache, "--prometheus")
    sample = re.compile(
        r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*")*\})? (\S+)'
    )
    families: dict[str, str] = {}
    values: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in families, "each family once, in one piece"
            families[name] = kind
        elif not line.startswith("# HELP "):
            match = sample.fullmatch(line)
            assert match is not None, line
            assert match[1] == name
            values[match[1] + (match[2] or "")] = float(match[3])
    assert values['fuse4dbricks_read_hits_total{layer="ram"}'] == 60
    assert values["fuse4dbricks_cache_limit_bytes"] == 100 * MIB
    assert values['fuse4dbricks_cache_user_bytes{user="user2@example.com"}'] == 3 * MIB
    assert families["fuse4dbricks_remote_calls_total"] == "counter"
    assert families["fuse4dbricks_cache_chunks"] == "gauge"


def in_terminal(cache: Path, *options: str, until: bytes, times: int = 1) -> str:
    """What it paints on a terminal, until ``until`` is there so many times; then Ctrl-C."""
    primary, secondary = pty.openpty()
    command = [sys.executable, "-m", "fuse4dbricks", "cache-stats", "--disk-cache-dir", str(cache), *options]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=secondary, stderr=secondary, env=environment)
    os.close(secondary)
    seen = b""
    try:
        while seen.count(until) < times and select.select([primary], [], [], 30)[0]:
            seen += os.read(primary, 65536)
        process.send_signal(signal.SIGINT)
        assert seen.count(until) >= times
        while select.select([primary], [], [], 30)[0]:
            try:
                seen += os.read(primary, 65536)
            except OSError:
                break
        assert process.wait(30) == 0 or "--watch" not in options
    finally:
        process.kill()
        process.wait()
        os.close(primary)
    return seen.decode()


def test_a_terminal_gets_bars_and_no_name_paints_on_it(cache: Path) -> None:
    painted = in_terminal(cache, until=b"<script>")
    assert "█" in painted
    assert r"\x1b[31m" in painted
    assert "\u202e" not in painted


def test_watch_shows_it_again_until_ctrl_c(cache: Path) -> None:
    painted = in_terminal(cache, "--watch", "1", until=b"Volumes", times=2)
    assert painted.count("\x1b[2J") >= 2


def test_watched_json_is_a_line_each_time(cache: Path) -> None:
    command = [sys.executable, "-m", "fuse4dbricks", "cache-stats", "--disk-cache-dir", str(cache)]
    process = subprocess.Popen([*command, "--json", "--watch", "1"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert lines[0]["taken_at"] < lines[1]["taken_at"]
    assert lines[0]["size"]["chunks"] == lines[1]["size"]["chunks"] == 6


def test_a_reader_that_has_seen_enough(cache: Path) -> None:
    script = f"'{sys.executable}' -m fuse4dbricks cache-stats --watch 1 --disk-cache-dir '{cache}' | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=60, check=False)
    assert done.stdout.startswith(b"folder: ")
    assert done.stderr == b""


# --- the page --------------------------------------------------------------------------------------


def test_the_page_is_whole_private_and_inert(
    captured: pytest.CaptureFixture[str], cache: Path, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    file.write_text("the former one")
    assert run(captured, cache, "--html", str(file)) == f"wrote {file}\n"
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text(encoding="utf-8")
    assert "<script" not in text
    assert not re.search(r"(src|href)=|url\(|@import", text)
    assert text.count("<svg") >= 8
    assert "60.0 %" in text


#: Runs in the page that a browser has laid out, and leaves what it measured in the document.
MEASURE = """<script>addEventListener("load", () => {
  const marks = [...document.querySelectorAll("svg g")].map(g => [
    g.querySelector("title").textContent, ...[...g.querySelectorAll("rect")].map(r => r.getBoundingClientRect().width)]);
  const flat = [...document.querySelectorAll("svg")].filter(s => s.getBoundingClientRect().height < 20).length;
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.body.innerHTML = "<pre id=measured>" + btoa(unescape(encodeURIComponent(JSON.stringify({marks, flat, wide})))) + "</pre>";
})</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_in_a_browser(captured: pytest.CaptureFixture[str], cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    run(captured, cache, "--html", str(file))
    dom, log = browse(file, tmp_path)
    assert "What the cache of fuse4dbricks holds" in dom
    assert not re.search(r"Refused|Content.Security|violates|Uncaught", log)
    text = re.sub(r"<meta http-equiv[^>]*>", "", file.read_text(encoding="utf-8"))
    file.write_text(text.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    dom, _ = browse(file, tmp_path)
    found = re.search(r'id="measured">([^<]+)<', dom)
    assert found is not None
    import base64

    measured = json.loads(base64.b64decode(found[1]))
    assert (measured["flat"], measured["wide"]) == (0, False)
    widths = {title: rects for title, *rects in measured["marks"]}
    track, drawn = widths["main.sales.volume2: 3.0 MiB"]
    assert drawn / track == pytest.approx(0.5, abs=0.01)
    assert widths["RAM: 6.0 MiB"][0] / widths["workspace: 3.0 MiB"][0] == pytest.approx(2, abs=0.02)
    assert any("<script>alert(1)" in title for title in widths)


def browse(file: Path, folder: Path) -> tuple[str, str]:
    """The document as Chromium has it after loading, and its log; no network."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += ["--window-size=1000,2000", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return done.stdout.decode(), done.stderr.decode(errors="replace")


# --- what is no cache ------------------------------------------------------------------------------


def test_folders_that_are_no_cache(captured: pytest.CaptureFixture[str], cache: Path, tmp_path: Path) -> None:
    def told(folder: Path) -> str:
        return refuse(captured, 4, "--disk-cache-dir", str(folder))

    assert "mount once to create it" in told(tmp_path / "absent")
    assert "it is empty" in told(tmp_path)
    (tmp_path / "photo.jpg").touch()
    assert "it holds 'photo.jpg'" in told(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(cache, copy)
    (copy / "index.sqlite").write_bytes(os.urandom(50_000))
    assert "it is damaged" in told(copy)
    for each in copy.glob("index.sqlite*"):
        each.unlink()
    assert "there is no index" in told(copy)
    (copy / "fuse4dbricks-cache").write_text("fuse4dbricks cache, format 9\n")
    assert "newer" in told(copy)


def test_bad_usage(captured: pytest.CaptureFixture[str], cache: Path, tmp_path: Path) -> None:
    here = ("--disk-cache-dir", str(cache))
    assert "exclude each other" in refuse(captured, 2, *here, "--json", "--prometheus")
    assert "--watch" in refuse(captured, 2, *here, "--watch", "2", "--prometheus")
    assert "--by" in refuse(captured, 2, *here, "--by", "moon")
    assert "--top" in refuse(captured, 2, *here, "--top", "-1")
    assert "--watch" in refuse(captured, 2, *here, "--watch", "0")
    assert "cannot write" in refuse(captured, 2, *here, "--html", str(tmp_path / "absent/page.html"))


def test_the_folder_is_found_as_a_mount_finds_it(
    captured: pytest.CaptureFixture[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSE4DBRICKS_DISK_CACHE_DIR", str(cache))
    assert main(["cache-stats"]) == 0
    assert captured.readouterr().out.startswith(f"folder: {cache}")
