"""Limits how many messages a user sends, over all sessions of that user together."""

from attrs import define
from zope.interface import implementer

from wsrelay.interfaces import UP, Close, ISessionFilter


@define
class Bucket:
    """A user's tokens as they were at a time, and in how many sessions the user is."""

    user: str
    tokens: float
    at: float
    sessions: int = 0


@implementer(ISessionFilter)
class UserRate:
    """The user is the session's tag ``user:…``, which a policy gives it; else the address."""

    def __init__(self, reactor, rate="10", burst="20"):
        if not (rate + burst).isdecimal() or 0 in (int(rate), int(burst)):
            raise ValueError(f"rate={rate} burst={burst}: expected whole numbers, 1 or more")
        self.clock, self.rate, self.burst = reactor, int(rate), int(burst)
        self.buckets = {}

    def opened(self, session):
        tags = sorted(tag for tag in session.tags if tag.startswith("user:"))
        user = tags[0] if tags else session.client_address
        full = Bucket(user, self.burst, self.clock.seconds())
        bucket = session.data[self] = self.buckets.setdefault(user, full)
        bucket.sessions += 1

    def message(self, session, direction, payload, is_binary):
        if direction != UP:
            return payload
        bucket = session.data[self]
        self.fill(bucket)
        if bucket.tokens < 1:
            return Close(1008, "too many messages")
        bucket.tokens -= 1
        return payload

    def fill(self, bucket):
        now = self.clock.seconds()
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.at) * self.rate)
        bucket.at = now

    def ended(self, session):
        session.data[self].sessions -= 1
        self.clock.callLater(self.burst / self.rate + 1, self.forget, session.data[self])

    def forget(self, bucket):
        self.fill(bucket)
        if not bucket.sessions and bucket.tokens == self.burst:  # else it may still matter
            self.buckets.pop(bucket.user, None)
