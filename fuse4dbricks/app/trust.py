"""Whom TLS trusts when the user names an authority of his own."""

from __future__ import annotations

import ssl
from pathlib import Path

from fuse4dbricks.errors import ConfigError


def trust_with(ca_file: Path | None) -> ssl.SSLContext | None:
    """The system's authorities and those in ``ca_file`` (PEM); None without one: the usual trust.

    Raises:
        ConfigError: the file cannot be read or holds no certificate.
    """
    if ca_file is None:
        return None
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        raise ConfigError(f"--ca-file {ca_file} holds no PEM certificate") from None
    except OSError as error:
        raise ConfigError(f"--ca-file {ca_file} cannot be read: {error.strerror}") from None
    return context
