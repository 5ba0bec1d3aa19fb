"""Each local user's own ``~/.databrickscfg``, read by a mount of root's for many users.

The difficulty: the file is under somebody else's control and the reader is root; see ``config_file.py`` for how it is
opened. Where a home is, the user database says, never the requesting process. Homes inside our own mount are left
alone by name, before any system call, and by device, after it.
"""

from __future__ import annotations

import pwd
from collections.abc import Callable
from pathlib import Path

from fuse4dbricks.auth.bounded_threads import BoundedThreads
from fuse4dbricks.auth.config_file import IsOurs, read_file_in_home
from fuse4dbricks.auth.issuers import Site, issue_from_profile
from fuse4dbricks.auth.profiles import parse_profile
from fuse4dbricks.auth.renewing import Renewing
from fuse4dbricks.auth.source import Issued, Report, SourceFailure, nothing_there
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.tokens import Token

#: Seconds for the user database and the file; a home on a dead file server costs its user this, once per pause.
READ_SECONDS = 5.0

#: Users remembered; the oldest is forgotten, and his file read again.
MAX_USERS = 4096


def home_of(uid: int) -> Path:
    """From the user database. Blocks: it may be on a network.

    Raises:
        SourceFailure: he is unknown, or has no home.
    """
    try:
        home = pwd.getpwuid(uid).pw_dir
    except KeyError:
        raise nothing_there(f"uid {uid} is not in the user database") from None
    if not home.startswith("/") or home == "/":
        raise nothing_there("the user database knows no home folder")
    return Path(home)


class HomeProfiles:
    """The default profile in each requesting user's home."""

    name = "your ~/.databrickscfg"

    def __init__(
        self,
        site: Site,
        *,
        mountpoint: Path,
        is_ours: IsOurs,
        owner_uid: int,
        supervisor: Supervisor,
        find_home: Callable[[int], Path] = home_of,
    ) -> None:
        self._site = site
        self._mountpoint = mountpoint
        self._is_ours = is_ours
        self._owner_uid = owner_uid
        self._supervisor = supervisor
        self._find_home = find_home
        self._threads: BoundedThreads[int] = BoundedThreads(seconds=READ_SECONDS)
        self._by_uid: dict[int, Renewing] = {}

    def get_token(self, uid: int) -> Token | None:
        """What his file led to."""
        held = self._by_uid.get(uid)
        return None if held is None else held.get()

    def is_due(self, uid: int) -> bool:
        """Whether his file was never looked at."""
        return uid != self._owner_uid and (uid not in self._by_uid or self._by_uid[uid].is_untried)

    async def fetch_token(self, uid: int, *, rejected: Token | None) -> Token | None:
        """A token by his file, read anew.

        Raises:
            Unreachable: whoever issues it does not answer.
        """
        if uid == self._owner_uid:
            return None  # his own configuration is asked as a whole
        if uid not in self._by_uid:
            if len(self._by_uid) >= MAX_USERS:
                del self._by_uid[next(iter(self._by_uid))]
            self._by_uid[uid] = Renewing(
                self.name,
                lambda _forced: self._issue(uid),
                supervisor=self._supervisor,
                clock=self._site.clock,
                weather=self._site.weather,
                refusals=self._site.refusals,
            )
        return await self._by_uid[uid].fetch(rejected)

    def get_report(self, uid: int) -> Report | None:
        """What came of his file."""
        held = self._by_uid.get(uid)
        return None if held is None else held.get_report()

    async def _issue(self, uid: int) -> Issued:
        text = await self._threads.run(uid, lambda: self._read(uid))
        profile = parse_profile(text, None, host=self._site.host, normalise=self._site.normalise)
        return await issue_from_profile(self._site, profile, may_run_programs=False)

    def _read(self, uid: int) -> str:
        home = self._find_home(uid)
        if home == self._mountpoint or self._mountpoint in home.parents:
            raise SourceFailure("the home folder lies inside this mount")
        return read_file_in_home(home, uid=uid, is_ours=self._is_ours)
