"""Where local users present themselves: the one behind ``.auth/``.

The difficulty: with ``--single-principal`` everybody reads with one identity, and whoever may change it reads as
himself for all the others (upstream let any user replace the shared token). So what is written counts for the
user whose identity it is, and others are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import trio

from fuse4dbricks.access import Access
from fuse4dbricks.auth.chain import TokenChain
from fuse4dbricks.auth.logins import DeviceLogins
from fuse4dbricks.auth.written import WrittenTokens
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.errors import (
    AccessDenied,
    Fuse4dbricksError,
    InvalidToken,
    InvalidWrite,
    NoToken,
    RemoteError,
)
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.vfs.control.drafts import TokenDraft, WordDraft
from fuse4dbricks.vfs.control.status import Status, login_text

#: Seconds for finding out who somebody is; the status then says that it is not known.
STATUS_SECONDS = 10.0


class Desk:
    """Takes tokens and requests to log in, and says how somebody stands."""

    def __init__(
        self,
        *,
        access: Access,
        connectivity: Connectivity,
        tokens: TokenChain,
        written: WrittenTokens,
        logins: DeviceLogins,
        workspace: str,
    ) -> None:
        self._access = access
        self._connectivity = connectivity
        self._tokens = tokens
        self._written = written
        self._logins = logins
        self._workspace = workspace
        self._words: Mapping[str, Callable[[int], None]] = {
            "login": logins.start,
            "cancel": logins.cancel,
            "logout": logins.log_out,
        }

    def check_may_change(self, uid: int) -> None:
        """Return when what ``uid`` writes counts.

        Raises:
            AccessDenied: everybody reads as somebody else.
        """
        identity = self._tokens.identity_of(uid)
        if identity != uid:
            raise AccessDenied(f"this mount reads as uid {identity} for everybody; only he can change that")

    def draft_token(self, uid: int) -> TokenDraft:
        """Where he writes the token to use for him from then on; an empty text forgets it.

        Raises:
            AccessDenied: everybody reads as somebody else.
        """
        self.check_may_change(uid)
        return TokenDraft(self._written, uid)

    def draft_word(self, uid: int) -> WordDraft:
        """Where he writes what is to be done about his login; raises as :meth:`draft_token` does."""
        self.check_may_change(uid)
        return WordDraft(partial(self._take_word, uid))

    def _take_word(self, uid: int, word: str) -> None:
        """Do what was written into ``.auth/login``.

        Raises:
            InvalidWrite: it is none of the words.
        """
        if word not in self._words:
            raise InvalidWrite(f"write one of: {', '.join(self._words)}")
        self._words[word](uid)

    def get_login_text(self, uid: int) -> bytes:
        """What ``.auth/login`` says to ``uid``."""
        return login_text(self._logins.get_state(self._tokens.identity_of(uid)))

    def get_source(self, viewer: Viewer) -> str | None:
        """Where the viewer's token is from."""
        return self._tokens.get_source_name(viewer.uid, viewer.token)

    async def resolve_status(self, uid: int) -> Status:
        """How ``uid`` stands; asks what is not known, for a few seconds."""
        viewer, problem = None, "finding out who you are took too long"
        with trio.move_on_after(STATUS_SECONDS):
            viewer, problem = await self._resolve_viewer(uid)
        # One that is refused is not what somebody reads with, though it comes first.
        token = self._tokens.get_token(uid) if viewer is None else viewer.token
        return Status(
            uid=uid,
            identity_uid=self._tokens.identity_of(uid),
            workspace=self._workspace,
            connection=self._connectivity.state,
            principal=None if viewer is None else viewer.principal,
            answered=None if token is None else self._tokens.get_source_name(uid, token),
            problem=problem,
            login=self._logins.get_state(self._tokens.identity_of(uid)),
            sources=self._tokens.get_reports(uid),
        )

    async def _resolve_viewer(self, uid: int) -> tuple[Viewer | None, str]:
        try:
            return await self._access.resolve_viewer(uid), ""
        except NoToken:
            return None, "no source has a token for you"
        except InvalidToken as error:
            return None, f"the workspace refuses the token: {error}"
        except (RemoteError, Fuse4dbricksError) as error:
            return None, f"the workspace cannot be asked who you are: {error}"
