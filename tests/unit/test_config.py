"""Options: one declaration, bounds that nothing passes, and the figures made of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.config import (
    Bounds,
    MountConfig,
    default_cache_folder,
    flag_of,
    option_fields,
)
from fuse4dbricks.errors import ConfigError
from fuse4dbricks.tokens import Token
from fuse4dbricks.units import GIB, MIB


def config(**options: Any) -> MountConfig:
    return MountConfig(mountpoint=Path("/mnt"), workspace="adb-1.azuredatabricks.net", **options)


BOUNDED = [option for option in option_fields() if option.metadata["bounds"] is not None]


def test_defaults_are_those_of_the_design() -> None:
    defaults = {flag_of(option.name): option.default for option in option_fields()}
    assert defaults["--disk-cache-gb"] == 10
    assert defaults["--disk-cache-max-days"] == 30
    assert defaults["--disk-cache-min-free-percent"] == 5
    assert defaults["--ram-cache-mb"] == 512
    assert defaults["--metadata-cache-ttl-sec"] == 30
    assert defaults["--metadata-cache-ttl-catalog-sec"] == 600
    assert defaults["--metadata-cache-ttl-negative-sec"] == 5
    assert defaults["--metadata-cache-max-entries"] == 20_000
    assert defaults["--permission-ttl-sec"] == 30
    assert (defaults["--file-mode"], defaults["--dir-mode"]) == (0o444, 0o555)
    assert defaults["--allow-other"] is False


def test_no_option_is_a_token() -> None:
    assert not [option.name for option in option_fields() if "token" in option.name]


@pytest.mark.parametrize("option", BOUNDED, ids=lambda option: option.name)
def test_bounds_are_kept(option: Any) -> None:
    bounds: Bounds = option.metadata["bounds"]
    for outside in (bounds.low - 1, bounds.high + 1, math.nan, math.inf, -math.inf):
        with pytest.raises(ConfigError, match=flag_of(option.name)):
            config(**{option.name: outside})


@pytest.mark.parametrize("option", BOUNDED, ids=lambda option: option.name)
def test_both_ends_are_inside(option: Any) -> None:
    bounds: Bounds = option.metadata["bounds"]
    for inside in (bounds.low, bounds.high):
        whole = int(inside) if float(inside).is_integer() else inside
        assert getattr(config(**{option.name: whole}), option.name) == inside


def test_the_message_shows_values_as_they_are_typed() -> None:
    with pytest.raises(ConfigError, match=r"--file-mode must be between 0000 and 0777, not 1000$"):
        config(file_mode=0o1000)
    with pytest.raises(ConfigError, match=r"--disk-cache-gb must be between 0 and 1000000, not -1$"):
        config(disk_cache_gb=-1)


def test_a_chunk_is_a_power_of_two() -> None:
    assert config(chunk_size_kb=256).chunk_size == 256 * 1024
    with pytest.raises(ConfigError, match="power of two"):
        config(chunk_size_kb=1000)


@pytest.mark.parametrize("workspace", ["", "  "])
def test_a_workspace_is_needed(workspace: str) -> None:
    with pytest.raises(ConfigError, match="DATABRICKS_HOST"):
        MountConfig(mountpoint=Path("/mnt"), workspace=workspace)


def test_system_accounts_share_a_folder_and_people_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/somebody/.cache-elsewhere")
    assert default_cache_folder(0) == default_cache_folder(999) == Path("/var/cache/fuse4dbricks")
    assert default_cache_folder(1000) == Path("/home/somebody/.cache-elsewhere/fuse4dbricks")


def test_the_cache_folder_is_as_given_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert config(disk_cache_dir=Path("/x")).cache_folder == Path("/x")
    assert config(disk_cache_dir=Path("~/x")).cache_folder == Path("/home/somebody/x")
    assert config(disk_cache_dir=Path("/x"), disk_cache_gb=0).cache_folder is None


def test_figures_in_the_units_of_the_program() -> None:
    made = config(disk_cache_gb=1.5, ram_cache_mb=400, disk_cache_max_days=2, disk_cache_min_free_percent=10)
    assert made.disk_bytes == 3 * GIB // 2
    assert made.ram_bytes == 400 * MIB
    assert made.window_bytes == 100 * MIB
    assert made.max_age_seconds == 172_800
    assert made.min_free_fraction == pytest.approx(0.1)


def test_a_small_ram_cache_still_leaves_room_to_read_ahead() -> None:
    assert config(ram_cache_mb=16).window_bytes == 64 * MIB


@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({}, 2.5 * GIB),
        ({"disk_cache_gb": 1000}, 4 * GIB),
        ({"quota_user_gb": 4, "quota_catalog_gb": 8}, GIB),
        ({"disk_cache_gb": 0, "quota_user_gb": 4}, 0),
        ({"prefetch_files": False}, 0),
    ],
)
def test_a_file_that_is_read_all_over_may_take_a_part_of_the_cache(
    options: dict[str, Any], most: float
) -> None:
    assert config(**options).gather_bytes == most


def test_the_token_is_not_in_the_repr() -> None:
    assert "canary" not in repr(config(token=Token("canary-123")))


def test_a_root_and_lists_of_securables_are_checked() -> None:
    asked = config(root="main.default", securable_allowlist=("main",), securable_denylist=("main.x, y",))
    assert asked.root_path.parts == ("main", "default")
    assert asked.visibility.shows(asked.root_path)
    refused: list[dict[str, Any]] = [
        {"root": "a.b.c.d"},
        {"root": ""},
        {"securable_denylist": ("a..b",)},
        {"securable_allowlist": ("a/b",)},
        {"root": "main.x", "securable_denylist": ("MAIN.X",)},
    ]
    for wrong in refused:
        with pytest.raises(ConfigError):
            config(**wrong)
