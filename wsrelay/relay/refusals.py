"""
Why the relay refuses a client, in words that metrics and logs count by.

docs/answers.rst is made of this.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


@frozen
class Refusal:
    """What a client is answered for one reason (499: nothing, it has left), and what that is."""

    answers: tuple[int, ...]
    help: str


REFUSALS: Final = {
    "malformed": Refusal(
        (400,),
        "A request, a websocket handshake, a PROXY header or TLS that cannot be read, or could "
        "be read in two ways.",
    ),
    "header-too-large": Refusal((431,), "The request's head is over ``max_header_size``."),
    "untrusted": Refusal(
        (403,),
        "Where ``proxy_protocol = yes``: not one of ``trusted_proxies``.  The connection ends "
        "without an answer; the status is for the log.",
    ),
    "too-slow": Refusal(
        (408,),
        "The request is not complete after ``handshake_timeout``, or its body stands still for "
        "``http_timeout``.",
    ),
    "no-route": Refusal((404,), "No route leads from this host and path."),
    "plain-http": Refusal(
        (426,),
        "Plain HTTP where ``http = no``, or another version of the websocket protocol than 13, "
        "which the answer names.",
    ),
    "address": Refusal((403,), "``allow`` or ``deny`` keeps the client's address out."),
    "origin": Refusal((403,), "Origin is not one of ``origins``."),
    "too-many-handshakes": Refusal((429,), "The address is over ``handshakes_per_ip``."),
    "too-many-connections": Refusal((429,), "The address is over ``connections_per_ip``."),
    "full": Refusal(
        (503,),
        "``max_connections`` of the listener or of the relay, or no file descriptor is left to "
        "ask an upstream.",
    ),
    "policy": Refusal(
        (401, 403), "A policy denies; the answer is the policy's, mostly one of these."
    ),
    "policy-failed": Refusal(
        (500, 503, 504),
        "A policy failed, was taken away by a reload while it was asked, or took longer than "
        "``policy_timeout``.",
    ),
    "no-upstream": Refusal(
        (503,), "No upstream may take the client, or its route has just changed."
    ),
    "queue-full": Refusal((503,), "``queue_size`` clients wait already."),
    "queue-timeout": Refusal((503,), "It has waited for ``queue_timeout``."),
    "draining": Refusal((503,), "The relay, or the pool, drains."),
    "upstream-failed": Refusal(
        (502,), "The upstream refused the connection, broke off, or answered with nonsense."
    ),
    "upstream-timeout": Refusal((504,), "The upstream took too long to connect or to answer."),
    "body-too-large": Refusal((413,), "The body is over ``max_body_size``."),
    "method": Refusal((405,), "CONNECT or TRACE; ``Allow`` has the others."),
    "expectation": Refusal((417,), "``Expect`` with anything but ``100-continue``."),
    "client-left": Refusal((499,), "The client left before it was answered."),
    "error": Refusal(
        (500, 504), "The balancer, or the relay, failed, or the balancer took too long."
    ),
}
"""Word of the reason -> what it stands for."""
