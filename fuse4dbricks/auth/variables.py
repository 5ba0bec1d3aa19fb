"""The environment that the mount was started with, as far as it is about signing in.

The difficulty: three of these are secrets, which must leave the environment before a child process inherits them or
``ps e`` shows them. So the command takes them out (``app/hardening.py``) and hands them over here, wrapped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fuse4dbricks.auth.secret import Secret
from fuse4dbricks.tokens import Token

TOKEN = "DATABRICKS_TOKEN"  # noqa: S105 - names of variables
CLIENT_SECRET = "DATABRICKS_CLIENT_SECRET"  # noqa: S105
ARM_SECRET = "ARM_CLIENT_SECRET"  # noqa: S105

#: Read and erased; the rest is read only.
SECRETS = (TOKEN, CLIENT_SECRET, ARM_SECRET)
PLAIN = (
    "DATABRICKS_HOST", "DATABRICKS_CLIENT_ID", "DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CONFIG_FILE",
    "DATABRICKS_AUTH_TYPE", "DATABRICKS_CLI_PATH", "ARM_CLIENT_ID", "ARM_TENANT_ID", "ARM_ENVIRONMENT",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Variables:
    """What was set; None for what was not. The secrets show nothing of themselves.

    Attributes:
        host: ``DATABRICKS_HOST``: the workspace that the ``DATABRICKS_…`` credentials are for.
        auth_type: ``DATABRICKS_AUTH_TYPE``: the only kind of credential to use.
    """

    token: Token | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    arm_client_id: str | None = None
    arm_secret: Secret | None = None
    arm_tenant: str | None = None
    arm_environment: str | None = None
    host: str | None = None
    profile: str | None = None
    config_file: str | None = None
    auth_type: str | None = None
    cli_path: str | None = None


def read_variables(environ: Mapping[str, str], take: Callable[[str], str | None]) -> Variables:
    """Read :data:`PLAIN` from ``environ``, and :data:`SECRETS` by ``take``, which removes them.

    Raises:
        InvalidWrite: a secret that is malformed. All of them have been taken by then.
    """
    secrets = {name: (take(name) or "").strip() for name in SECRETS}
    plain = {name: environ.get(name, "").strip() or None for name in PLAIN}
    return Variables(
        token=Token(secrets[TOKEN]) if secrets[TOKEN] else None,
        client_id=plain["DATABRICKS_CLIENT_ID"],
        client_secret=_secret(secrets[CLIENT_SECRET]),
        arm_client_id=plain["ARM_CLIENT_ID"],
        arm_secret=_secret(secrets[ARM_SECRET]),
        arm_tenant=plain["ARM_TENANT_ID"],
        arm_environment=plain["ARM_ENVIRONMENT"],
        host=plain["DATABRICKS_HOST"],
        profile=plain["DATABRICKS_CONFIG_PROFILE"],
        config_file=plain["DATABRICKS_CONFIG_FILE"],
        auth_type=plain["DATABRICKS_AUTH_TYPE"],
        cli_path=plain["DATABRICKS_CLI_PATH"],
    )


def _secret(text: str) -> Secret | None:
    return Secret(text) if text else None
