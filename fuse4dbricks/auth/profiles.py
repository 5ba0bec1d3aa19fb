"""``.databrickscfg``: named sets of settings in the form of an INI file.

The difficulty: Python's parser hands DEFAULT's keys to every other section and reads ``%`` as interpolation, and
either sends somebody's token to the wrong workspace or refuses a good secret. Its errors quote the line that they
stumbled over, which may be the token. And the file is written for several workspaces: a profile that names another
host is not for this mount (databricks-api 5.2).
"""

from __future__ import annotations

import configparser
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.auth.source import SourceFailure, nothing_there
from fuse4dbricks.errors import ConfigError, InvalidWrite
from fuse4dbricks.tokens import Token

SETTINGS = "__settings__"
DEFAULT = "DEFAULT"

#: Host names as cache keys have them: two spellings of one workspace come out the same.
Normalise = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Profile:
    """One section, for this workspace.

    Attributes:
        name: of the section.
        fields: the rest, without secrets.
    """

    name: str
    token: Token | None = None
    client_secret: Secret | None = None
    azure_secret: Secret | None = None
    fields: Mapping[str, str] = field(default_factory=dict)

    def get(self, key: str) -> str | None:
        """A field that is set to something."""
        return self.fields.get(key) or None


def parse_profile(text: str, wanted: str | None, *, host: str, normalise: Normalise) -> Profile:
    """The profile ``wanted``, or the file's own default.

    Raises:
        SourceFailure: there is none, it is malformed, or it is for another workspace.
    """
    sections = _sections(text)
    name = wanted or sections.get(SETTINGS, {}).get("default_profile", "").strip() or DEFAULT
    found = sections.get(name)
    if found is None or name == SETTINGS:
        if wanted:
            raise SourceFailure(f"there is no profile {_shown(name)} in it")
        raise nothing_there(f"it has no profile {_shown(name)}")
    _check_host(name, found.get("host", ""), host, normalise)
    return _profile(name, found)


def _sections(text: str) -> dict[str, dict[str, str]]:
    # A default section of a name that no file can have: "]" ends a section's name.
    parser = configparser.ConfigParser(interpolation=None, default_section="]", strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise SourceFailure(f"it is not a configuration file ({type(error).__name__})") from None
    return {name: dict(parser.items(name)) for name in parser.sections()}


def _check_host(name: str, given: str, host: str, normalise: Normalise) -> None:
    if not given.strip():
        raise SourceFailure(f"the profile {_shown(name)} names no host, so it is not used here")
    try:
        theirs = normalise(given)
    except ConfigError:
        raise SourceFailure(f"the host of the profile {_shown(name)} is not usable") from None
    if theirs != host:
        raise SourceFailure(f"the profile {_shown(name)} is for {theirs}, so it is not used here")


def _profile(name: str, found: Mapping[str, str]) -> Profile:
    rest = {key: value.strip() for key, value in found.items()}
    token, secret, azure = (rest.pop(key, "") for key in ("token", "client_secret", "azure_client_secret"))
    try:
        return Profile(
            name,
            token=Token(token) if token else None,
            client_secret=Secret(secret) if secret else None,
            azure_secret=Secret(azure) if azure else None,
            # Whatever else may be secret (password, google_credentials) is not carried along.
            fields={key: rest[key] for key in _PLAIN if key in rest},
        )
    except InvalidWrite:
        raise SourceFailure(f"the profile {_shown(name)} holds a malformed secret") from None


_PLAIN = (
    "host", "auth_type", "client_id", "azure_client_id", "azure_tenant_id", "azure_environment", "databricks_cli_path",
)  # fmt: skip


def _shown(name: str) -> str:
    return repr(name[:60])
