"""A certificate authority of our own, for TLS without a trusted name.

The difficulty: Python loads keys from files only, so a private key touches the disk; it lies in a folder that only
the owner can enter and goes with the workspace.
"""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

#: Names and addresses that the workspace is reached under.
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate on disk.

    Attributes:
        chain: PEM file.
        key: PEM file.
        authority: PEM file that clients are to trust; the chain itself when it came from outside.
    """

    chain: Path
    key: Path
    authority: Path

    def context(self) -> ssl.SSLContext:
        """What a server listens with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


def make_certificate(
    folder: Path,
    names: tuple[str, ...] = LOCAL_NAMES,
    *,
    not_before: dt.datetime | None = None,
    not_after: dt.datetime | None = None,
) -> Certificate:
    """Write a new authority and a certificate by it for these names into a private folder."""
    import trustme  # noqa: PLC0415 - pulls in cryptography, which plain HTTP does not need

    authority = trustme.CA()
    leaf = authority.issue_cert(*names, not_before=not_before, not_after=not_after)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Certificate(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    authority.cert_pem.write_to_path(str(made.authority))
    made.chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
    made.key.touch(mode=0o600)
    made.key.write_bytes(leaf.private_key_pem.bytes())
    return made
