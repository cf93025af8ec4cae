"""Hides e-mail addresses and IP addresses in text messages."""

import re
from ipaddress import ip_address

from zope.interface import implementer

from wsrelay.interfaces import DOWN, UP, IMessageFilter

# Every repeat has an end, so that no message takes longer than others of its length.
EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
IPV4 = re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d)")
PERHAPS_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")


@implementer(IMessageFilter)
class Anonymise:
    """
    What is hidden is the same in JSON, as neither addresses nor what takes their place need
    quotes; but JSON may also write any character as \\u0040, which stays.
    """

    def __init__(self, reactor, direction="both"):
        if direction not in (UP, DOWN, "both"):
            raise ValueError(f"direction={direction}: expected up, down or both")
        self.direction = direction

    def message(self, session, direction, payload, is_binary):
        if is_binary or self.direction not in (direction, "both"):
            return payload
        text = EMAIL.sub("[e-mail]", payload.decode())
        text = IPV4.sub("[address]", text)
        return PERHAPS_IPV6.sub(hide_address, text)


def hide_address(match):
    try:
        ip_address(match[0])
    except ValueError:  # a time of day, say
        return match[0]
    return "[address]"
