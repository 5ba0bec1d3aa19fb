"""What a mount is asked to be: every option once, with its default, its bounds and its meaning.

The difficulty: the same option is known to the command line, to an environment variable, to the README and to
the code that obeys it, and four copies of a default drift apart. So :class:`MountConfig` is the only declaration:
the commands make their flags from its fields, a test compares the README with them, and a value out of bounds is
refused here, whoever gives it (``nan`` and ``inf`` too, which range checks of argument parsers let through).
"""

# ruff: noqa: RUF009 - _option() makes a dataclass field, which ruff cannot see

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from fuse4dbricks.auth.variables import Variables
from fuse4dbricks.errors import ConfigError
from fuse4dbricks.paths import ROOT, RemotePath
from fuse4dbricks.tokens import Token
from fuse4dbricks.units import GIB, KIB, MIB
from fuse4dbricks.visibility import Visibility, parse_name, parse_patterns
from fuse4dbricks.weather import Mode

#: Accounts below this are the system's (login.defs, UID_MIN): they often have no home folder.
FIRST_HUMAN_UID = 1000

#: 4294967295 is (uid_t)-1, which the kernel reads as "leave it as it is".
MAX_ID = 2**32 - 2

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")
#: msal refuses http; a path would become the tenant.
_AUTHORITY = re.compile(r"https://[A-Za-z0-9.\[\]:_-]{1,255}")

SECONDS_PER_DAY = 86_400.0

#: What pins may take of the disk cache, unless something else is said.
PIN_SHARE = 0.8

#: Bytes that all read-ahead windows may hold at once, as a part of the RAM tier; with fewer, eight connections on a line
#: of 30 ms get requests of 1 MiB and half of their throughput.
WINDOW_SHARE = 0.25
MIN_WINDOW_BYTES = 64 * MIB
#: One file that is fetched as a whole because it is read all over may take a part in so many of the disk cache: what
#: is evicted for it may be worth more. And no more than ten seconds of eight connections at 50 MB/s.
GATHER_PART = 4
MOST_GATHERED = 4 * GIB
#: What may wait to be written to disk where the RAM cache is small.
MIN_QUEUE_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class Bounds:
    """The smallest and the largest value that an option takes, both included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high  # false for nan


class Presigned(StrEnum):
    """Whether bytes may come from the cloud store past the workspace (``--presigned``)."""

    AUTO = "auto"
    NEVER = "never"


def _option(
    default: Any,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    is_duration: bool = False,
) -> Any:
    """A field that is also a flag; ``meaning`` is its help text, and a duration (in seconds) is typed like ``8h``."""
    bounds = None if low is None or high is None else Bounds(low, high)
    metadata = {"meaning": meaning, "bounds": bounds, "is_duration": is_duration}
    return field(default=default, metadata=metadata)


def flag_of(name: str) -> str:
    """``disk_cache_gb`` → ``--disk-cache-gb``."""
    return "--" + name.replace("_", "-")


def _shown(name: str, value: float) -> str:
    """A value as it would be typed: modes in octal, numbers without an exponent."""
    return f"{value:04o}" if name.endswith("_mode") and isinstance(value, int) else f"{value:.12g}"


def default_cache_folder(uid: int | None = None) -> Path:
    """``/var/cache/fuse4dbricks`` for system accounts, else the user's XDG cache folder."""
    uid = os.getuid() if uid is None else uid
    if uid < FIRST_HUMAN_UID:
        return Path("/var/cache/fuse4dbricks")
    return user_cache_path("fuse4dbricks")


@dataclass(frozen=True, slots=True, kw_only=True)
class MountConfig:
    """One mount, as asked for. Fields with a meaning are flags of the same name; see :func:`option_fields`.

    Attributes:
        mountpoint: the folder to mount on, as given.
        workspace: URL or host name, as given; the workspace client checks its form.
        token: for the user who mounts, in place of everything in ``variables``; never a flag, because every local
            user can read a command line.
        variables: what the environment says about signing in.

    Raises:
        ConfigError: an option is out of bounds.
    """

    mountpoint: Path
    workspace: str
    token: Token | None = None
    variables: Variables = Variables()

    ca_file: Path | None = _option(
        None,
        "Trust the certificate authorities in this PEM file too (a company's own, or a local workspace's).",
    )
    root: str | None = _option(
        None,
        "Show only this catalog, schema or volume (such as main.default.vol), at the mount point itself.",
    )
    securable_allowlist: tuple[str, ...] = _option(
        (), "Show only these catalogs, schemas and volumes: names with dots, * and ?, between commas; may be repeated."
    )  # fmt: skip
    securable_denylist: tuple[str, ...] = _option(
        (), "Hide these catalogs, schemas and volumes, even if they are in the other list."
    )
    allow_other: bool = _option(False, "Let other local users use the mount, each with a token of his own.")
    single_principal: bool = _option(
        False, "Let every local user read with the token of the user who mounts."
    )
    no_unified_auth: bool = _option(
        False, "Take no token from the environment, ~/.databrickscfg or a command line tool."
    )
    auth_from_process_env: bool = _option(
        False,
        "Take DATABRICKS_TOKEN from the environment of the requesting process, too; racy, see the README.",
    )
    tenant_id: str | None = _option(
        None, "Microsoft Entra tenant to sign in at (default: the one that the workspace names)."
    )
    client_id: str | None = _option(
        None, "Application that device logins are made for (default: the Azure CLI's public client)."
    )
    entra_authority: str | None = _option(
        None, "Login service of a sovereign cloud (default: https://login.microsoftonline.com)."
    )
    keep_logins: bool = _option(
        False, "Keep device logins in the cache folder, so that they outlive the mount; they are secrets."
    )
    uid: int | None = _option(
        None, "Owner shown for files and folders (default: the user who mounts).", low=0, high=MAX_ID
    )
    gid: int | None = _option(
        None, "Group shown for files and folders (default: that of the user who mounts).", low=0, high=MAX_ID
    )
    file_mode: int = _option(0o444, "Permission bits shown for files, octal.", low=0, high=0o777)
    dir_mode: int = _option(0o555, "Permission bits shown for folders, octal.", low=0, high=0o777)
    hide_xattrs: bool = _option(
        False, "List no extended attributes, so that nothing copies them; they are still answered by name."
    )

    disk_cache_dir: Path | None = _option(
        None,
        "Folder of the disk cache (default: /var/cache/fuse4dbricks for system accounts, "
        "else fuse4dbricks in the user's cache folder).",
    )
    disk_cache_gb: float = _option(
        10.0, "Size limit of the disk cache in GiB; 0 keeps nothing on disk.", low=0, high=1_000_000
    )
    disk_cache_max_days: float = _option(
        30.0, "Drop what was not read for this many days.", low=0.001, high=36_500
    )
    disk_cache_min_free_percent: float = _option(
        5.0, "Leave at least this part of the cache's disk free, in percent.", low=0, high=99
    )
    pin_max_gb: float | None = _option(
        None, "Size limit of what is pinned in GiB (default: four fifths of --disk-cache-gb).", low=0, high=1_000_000
    )  # fmt: skip
    disk_cache_max_files: int = _option(
        0,
        "Most chunk files in the disk cache, one for each MiB of a cached file or part of it; 0: any number.",
        low=0,
        high=1_000_000_000,
    )
    quota_user_gb: float = _option(
        0.0, "What one user's reading may take of the disk cache in GiB; 0: all of it.", low=0, high=1_048_576
    )
    quota_catalog_gb: float = _option(
        0.0, "What one catalog may take of the disk cache in GiB; 0: all of it.", low=0, high=1_048_576
    )
    clear_cache: bool = _option(False, "Empty the disk cache before mounting.")
    ram_cache_mb: int = _option(512, "Size limit of the RAM cache in MiB.", low=16, high=1_048_576)
    chunk_size_kb: int = _option(
        1024, "Unit of storage in KiB, a power of two; what is stored in another is fetched anew.",
        low=64, high=16_384,
    )  # fmt: skip

    metadata_cache_ttl_sec: float = _option(
        30.0, "Seconds for which names, sizes and times inside volumes are trusted.", low=0, high=86_400
    )
    metadata_cache_ttl_catalog_sec: float = _option(
        600.0, "Seconds for which lists of catalogs, schemas and volumes are trusted.", low=0, high=86_400
    )
    metadata_cache_ttl_negative_sec: float = _option(
        5.0, 'Seconds for which "no such file" is trusted.', low=0, high=3_600
    )
    metadata_cache_max_entries: int = _option(
        20_000, "Metadata entries held in RAM.", low=100, high=100_000_000
    )
    permission_ttl_sec: float = _option(
        30.0, "Seconds for which the workspace's answer that a user may read a volume holds.", low=1, high=3_600
    )  # fmt: skip

    offline: Mode = _option(
        Mode.AUTO,
        "auto: serve what is known while the workspace cannot be reached; always: send nothing at all; "
        "never: what is past its time to live is an error.",
    )
    offline_grace: float = _option(
        8 * 3600.0,
        "How long after its last proof a permission holds while the workspace cannot be reached: 8h, 30m, 2d.",
        low=0,
        high=30 * SECONDS_PER_DAY,
        is_duration=True,
    )
    prefetch_listings: bool = _option(
        True, "List folders ahead of a program that walks a tree, such as find or rsync."
    )
    prefetch_files: bool = _option(
        True,
        "Fetch small files ahead of a program that opens the files of a folder in order, and the rest of a large one "
        "that is read all over.",
    )

    presigned: Presigned = _option(
        Presigned.AUTO,
        "auto: fetch large files straight from the cloud store where the workspace gives out URLs for that; never.",
    )

    debug: bool = _option(
        False, "Log each call and each failed request, show tracebacks and allow core dumps."
    )

    def __post_init__(self) -> None:
        for option in option_fields():
            value, bounds = getattr(self, option.name), option.metadata["bounds"]
            if bounds is not None and value is not None and value not in bounds:
                low, high, given = (_shown(option.name, x) for x in (bounds.low, bounds.high, value))
                raise ConfigError(f"{flag_of(option.name)} must be between {low} and {high}, not {given}")
        if self.chunk_size_kb & (self.chunk_size_kb - 1):
            raise ConfigError(f"--chunk-size-kb must be a power of two, not {self.chunk_size_kb}")
        self._check_entra()
        if not self.visibility.shows(self.root_path):
            raise ConfigError(f"--root {self.root} is hidden by the lists of securables")
        if not self.workspace.strip():
            raise ConfigError(
                "no workspace is given: use --workspace https://adb-….azuredatabricks.net or set DATABRICKS_HOST"
            )

    def _check_entra(self) -> None:
        for name in ("tenant_id", "client_id"):
            value = getattr(self, name)
            if value is not None and not _ID.fullmatch(value):
                raise ConfigError(f"{flag_of(name)} must be an id or a domain, not {value[:60]!r}")
        authority = self.entra_authority
        if authority is not None and not _AUTHORITY.fullmatch(authority):
            raise ConfigError(f"--entra-authority must be https://HOST[:PORT], not {authority[:60]!r}")

    @property
    def root_path(self) -> RemotePath:
        """What is at the mount point."""
        return ROOT if self.root is None else RemotePath(parse_name(self.root))

    @property
    def visibility(self) -> Visibility:
        """The filter of securables."""
        return Visibility(parse_patterns(self.securable_allowlist), parse_patterns(self.securable_denylist))

    @property
    def cache_folder(self) -> Path | None:
        """Where the disk cache lives, or None when there is to be none."""
        if not self.disk_cache_gb:
            return None
        return (self.disk_cache_dir or default_cache_folder()).expanduser()

    @property
    def disk_bytes(self) -> int:
        """Size limit of the disk cache."""
        return int(self.disk_cache_gb * GIB)

    @property
    def pin_bytes(self) -> int:
        """Size limit of what is pinned; less than that of the disk cache, so that there is room for the rest."""
        most = int(self.disk_bytes * PIN_SHARE)
        return most if self.pin_max_gb is None else min(int(self.pin_max_gb * GIB), self.disk_bytes)

    @property
    def quota_user_bytes(self) -> int:
        """Quota of each user; 0: none."""
        return int(self.quota_user_gb * GIB)

    @property
    def quota_catalog_bytes(self) -> int:
        """Quota of each catalog; 0: none."""
        return int(self.quota_catalog_gb * GIB)

    @property
    def gather_bytes(self) -> int:
        """Size up to which a file that is read all over is fetched as a whole; 0: none is."""
        if not self.prefetch_files:
            return 0
        quotas = [quota for quota in (self.quota_user_bytes, self.quota_catalog_bytes) if quota]
        return min(MOST_GATHERED, min([self.disk_bytes, *quotas]) // GATHER_PART)

    @property
    def ram_bytes(self) -> int:
        """Size limit of the RAM cache."""
        return self.ram_cache_mb * MIB

    @property
    def queue_bytes(self) -> int:
        """Bound on what waits to be written to disk: the last of what was fetched, so RAM holds most of it anyway."""
        return max(MIN_QUEUE_BYTES, self.ram_bytes // 2)

    @property
    def window_bytes(self) -> int:
        """Bound on the bytes of all read-ahead windows together."""
        return max(MIN_WINDOW_BYTES, int(self.ram_bytes * WINDOW_SHARE))

    @property
    def chunk_size(self) -> int:
        """Unit of storage, bytes."""
        return self.chunk_size_kb * KIB

    @property
    def max_age_seconds(self) -> float:
        """Age, since the last read, at which a chunk is dropped."""
        return self.disk_cache_max_days * SECONDS_PER_DAY

    @property
    def min_free_fraction(self) -> float:
        """Part of the cache's disk that is left free, 0 to 1."""
        return self.disk_cache_min_free_percent / 100

    @property
    def grace_seconds(self) -> float:
        """How long past its time to live a proof counts in an outage."""
        return 0.0 if self.offline is Mode.NEVER else self.offline_grace

    @property
    def shown_uid(self) -> int:
        """Owner of everything in the mount."""
        return os.getuid() if self.uid is None else self.uid

    @property
    def shown_gid(self) -> int:
        """Group of everything in the mount."""
        return os.getgid() if self.gid is None else self.gid


def option_fields() -> Iterator[Field[Any]]:
    """The fields of :class:`MountConfig` that are flags, in the order in which help shows them."""
    return (each for each in fields(MountConfig) if "meaning" in each.metadata)
