"""A control file that answers what is written into it: the question first, then its answer, in one open.

The difficulty: an answer takes calls to the workspace, and somebody may ask a thousand times at once. So each user has
few answers in the making, all together have few more, and who comes on top is told so at once: no request of the
kernel waits in a queue here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable

from fuse4dbricks.errors import InvalidWrite

#: PATH_MAX, and what ``/Volumes`` and a newline add.
MAX_QUESTION_BYTES = 4200
#: Answers in the making, of one user and of all.
PER_USER = 2
IN_ALL = 16

#: Finds the answer to a question of a user.
Answering = Callable[[int, bytes], Awaitable[bytes]]


class Questions:
    """Takes questions, and bounds how many are being answered."""

    def __init__(self, answer: Answering, refuse: Callable[[int, bytes], bytes]) -> None:
        self._answer = answer
        self._refuse = refuse
        self._busy: Counter[int] = Counter()

    async def resolve(self, uid: int, question: bytes) -> bytes:
        """The answer, or that there are too many questions now."""
        if self._busy[uid] >= PER_USER or self._busy.total() >= IN_ALL:
            return self._refuse(uid, question)
        self._busy[uid] += 1
        try:
            return await self._answer(uid, question)
        finally:
            self._busy[uid] -= 1
            if not self._busy[uid]:
                del self._busy[uid]


class AskingHandle:
    """One open of the file: what is written is the question, what follows it in the file the answer."""

    def __init__(self, uid: int, questions: Questions, usage: bytes) -> None:
        self._uid = uid
        self._questions = questions
        self._usage = usage
        self._question = bytearray()
        self._answer: bytes | None = None

    def write(self, offset: int, content: bytes) -> int:
        """Take a piece of the question.

        Raises:
            InvalidWrite: it is too long, leaves a gap, or has been answered.
        """
        if self._answer is not None or offset != len(self._question):
            raise InvalidWrite("one question for each open, written in order")
        if len(self._question) + len(content) > MAX_QUESTION_BYTES:
            raise InvalidWrite(f"at most {MAX_QUESTION_BYTES} bytes")
        self._question += content
        return len(content)

    async def read(self, offset: int, length: int) -> bytes:
        """The answer behind the question; without one, how to ask."""
        if not self._question:
            return self._usage[offset : offset + length]
        if self._answer is None:
            self._answer = await self._questions.resolve(self._uid, bytes(self._question))
        start = max(0, offset - len(self._question))
        return self._answer[start : start + length]
