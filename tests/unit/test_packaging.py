"""What is in the wheel: built for real, without a network, and read."""

from __future__ import annotations

import email
import subprocess
import sys
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import fuse4dbricks

TREE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(TREE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(wheel.read(name))


def test_the_migrations_are_inside_the_package(wheel: zipfile.ZipFile) -> None:
    at_the_top = {
        f"fuse4dbricks/migrations/{file.name}": file.read_bytes() for file in TREE.glob("migrations/*.sql")
    }
    assert at_the_top, "there is no index without a schema"
    shipped = {name: wheel.read(name) for name in wheel.namelist() if name.endswith(".sql")}
    assert shipped == at_the_top


def test_the_whole_package_is_there_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    sources = {str(file.relative_to(TREE)) for file in (TREE / "fuse4dbricks").rglob("*.py")}
    shipped = {name for name in wheel.namelist() if name.endswith(".py")}
    assert shipped == sources
    assert "fuse4dbricks/py.typed" in wheel.namelist()
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"fuse4dbricks", f"fuse4dbricks-{fuse4dbricks.__version__}.dist-info"}


def test_the_command_is_installed(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "fuse4dbricks = fuse4dbricks.cli.main:main" in wheel.read(name).decode()


def test_the_version_is_one(metadata: Message) -> None:
    assert metadata["Version"] == fuse4dbricks.__version__
    assert metadata["Requires-Python"] == ">=3.11"


def test_extras(metadata: Message) -> None:
    assert {"demo", "test", "bench"} <= set(metadata.get_all("Provides-Extra", []))
    needed_always = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert not [line for line in needed_always if line.startswith(("uvicorn", "starlette", "trustme"))]
