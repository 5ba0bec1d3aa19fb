"""Where the workspace is, checked before a token can travel there.

The difficulty: what people paste is a browser's address (``https://adb-1.2.azuredatabricks.net/?o=12#job/3``), a
bare host, or ``http://``. The last would send the token in clear text, so it is refused except on loopback, where
the local workspace of the demo listens. The normalised host is part of every cache key, so two spellings of one
workspace must come out the same.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from fuse4dbricks.errors import ConfigError

_DEFAULT_PORTS = {"https": 443, "http": 80}
# RFC 1123 labels, underscores tolerated as DNS does.
_HOST = re.compile(
    r"(?!.{254})[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)


@dataclass(frozen=True, slots=True)
class WorkspaceUrl:
    """A checked workspace address.

    Attributes:
        scheme: ``https``, or ``http`` for loopback.
        host: ``name`` or ``name:port`` in lower case, the scheme's own port left out.
        is_loopback: whether it never leaves this machine.
    """

    scheme: str
    host: str
    is_loopback: bool

    @property
    def base(self) -> str:
        """Scheme and host, without a trailing slash."""
        return f"{self.scheme}://{self.host}"


def parse_workspace_url(text: str) -> WorkspaceUrl:
    """Check and normalise what was given as ``--workspace`` or ``DATABRICKS_HOST``.

    Raises:
        ConfigError: empty, malformed, with a user name in it, not http(s), or http beyond loopback. The
            message never repeats the text when it may hold a password.
    """
    split = _split(text.strip())
    if split.username is not None or split.password is not None:
        raise ConfigError("the workspace URL must not hold a user name or password")
    scheme = split.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise ConfigError(f"the workspace URL must begin with https://, not {scheme}://")
    name = _normalise_host(split.hostname or "")
    is_loopback = _is_loopback(name)
    if scheme == "http" and not is_loopback:
        raise ConfigError(
            f"http://{name} would send tokens in clear text: use https:// (http is for loopback only)"
        )
    return WorkspaceUrl(scheme, name + _port_suffix(split, scheme), is_loopback)


def _split(text: str) -> SplitResult:
    if not text:
        raise ConfigError("the workspace URL is empty")
    if any(char.isspace() or not char.isprintable() or char == "\\" for char in text):
        raise ConfigError("the workspace URL holds a space or a control character")
    try:
        return urlsplit(text if "://" in text else f"https://{text}")
    except ValueError:
        raise ConfigError("the workspace URL is malformed") from None


def _port_suffix(split: SplitResult, scheme: str) -> str:
    try:
        port = split.port
    except ValueError:
        raise ConfigError("the port in the workspace URL is not a number from 1 to 65535") from None
    if port == 0:
        raise ConfigError("the port in the workspace URL is not a number from 1 to 65535")
    return "" if port is None or port == _DEFAULT_PORTS[scheme] else f":{port}"


def _normalise_host(host: str) -> str:
    if ":" in host:
        try:
            address = ipaddress.IPv6Address(host)
        except ValueError:
            raise ConfigError("the host in the workspace URL is malformed") from None
        if address.scope_id is not None:
            raise ConfigError("the host in the workspace URL has an IPv6 zone, which no certificate can name")
        return f"[{address}]"
    try:
        # A trailing dot is the same name to DNS and another one to certificates and cache keys.
        ascii_host = host.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        raise ConfigError("the host in the workspace URL is malformed") from None
    if not _HOST.fullmatch(ascii_host):
        raise ConfigError("the host in the workspace URL is malformed")
    return ascii_host


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
