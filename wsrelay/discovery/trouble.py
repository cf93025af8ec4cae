"""What is wrong with something that is looked at again and again."""

from __future__ import annotations

from attrs import define, field
from twisted.python.failure import Failure

from wsrelay.log import Logger

__all__ = ["Trouble"]

log = Logger()


@define(eq=False)
class Trouble:
    """
    Something's trouble, logged when it changes and when it is over, not each time it is seen.

    :param about: what has it, to begin a sentence with.
    :ivar text: what is wrong; empty when nothing is.
    """

    _about: str
    text: str = field(default="", init=False)

    def say(self, text: str, failure: Failure | None = None) -> None:
        """Note what is wrong; *failure* goes to the log with it."""
        if text == self.text:
            return
        self.text = text
        if failure is None:
            log.warn("{about}: {text}", about=self._about, text=text)
        else:
            log.failure("{about}: {text}", failure, about=self._about, text=text)

    def clear(self) -> None:
        """Note that all is well."""
        if self.text:
            self.text = ""
            log.info("{about}: all is well again", about=self._about)
