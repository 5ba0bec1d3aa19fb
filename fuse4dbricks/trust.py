"""Whom TLS trusts.

The difficulty: OpenSSL takes 20 ms to read the usual authorities, and as long for each further context: a twentieth of
a mount's start, and later a loop that stands still. It needs no Python meanwhile. So a mount makes one context for all
that it connects to, and has it made in a thread while its modules load.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from threading import Thread

# Here and not where it is needed: two threads that import at once can meet a module that is half made.
import certifi

from fuse4dbricks.errors import ConfigError


def trust_with(ca_file: Path | None) -> ssl.SSLContext:
    """The system's authorities and those in ``ca_file`` (PEM); without one the usual trust.

    Raises:
        ConfigError: the file cannot be read or holds no certificate.
    """
    if ca_file is None:
        return usual_trust()
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        raise ConfigError(f"--ca-file {ca_file} holds no PEM certificate") from None
    except OSError as error:
        raise ConfigError(f"--ca-file {ca_file} cannot be read: {error.strerror}") from None
    return context


def usual_trust() -> ssl.SSLContext:
    """SSL_CERT_FILE, SSL_CERT_DIR, or else the authorities that Mozilla trusts, as httpx has it.

    Raises:
        ConfigError: what the environment names cannot be used.
    """
    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if file or not folder:
            return ssl.create_default_context(cafile=file or certifi.where())
        return ssl.create_default_context(capath=folder)
    except OSError as error:  # that of OpenSSL is one, too
        raise ConfigError(
            f"the certificates named by SSL_CERT_FILE cannot be used: {error.strerror}"
        ) from None


def no_trust() -> ssl.SSLContext:
    """A context that trusts nobody, for plain http on loopback: it costs nothing."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class TrustAhead:
    """:func:`trust_with`, begun in a thread when this is made."""

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._made: ssl.SSLContext | Exception | None = None
        # Not a daemon: a start that fails at once would end while OpenSSL reads, and crash (24 of 25 times).
        self._thread = Thread(target=self._make, name="fuse4dbricks-trust")
        self._thread.start()

    def get(self) -> ssl.SSLContext:
        """The context; waits for it, 20 ms at most.

        Raises:
            ConfigError: as :func:`trust_with`.
        """
        self._thread.join()
        if isinstance(self._made, ssl.SSLContext):
            return self._made
        assert self._made is not None
        raise self._made

    def _make(self) -> None:
        try:
            self._made = trust_with(self._ca_file)
        except Exception as error:  # noqa: BLE001 - raised where somebody waits
            self._made = error
