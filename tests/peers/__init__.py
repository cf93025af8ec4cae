"""
Tests with real peers: a relay process between other people's clients and servers.

Every upstream program (``upstream_*.py``, ``upstream_*.mjs``) does the same, so that
each client can be tried with each.  It prints one JSON object a line: first
``{"event": "listening", "port": …}``, then for each session ``open`` (what the
handshake said), ``ping`` (payload) and ``close`` (code, reason), each with the
request's ``path``.  The path says how it behaves:

``/echo``
    every message comes back, in as many fragments as it had where the library shows them
``/fragments``
    every message comes back in fragments of one character or byte
``/bye``
    the first message is answered with close code 4001, ``bye``
``/ping``
    every message is sent back as a ping; its pong is told with the message ``pong …``
``/talk``
    sends ``down 0`` … ``down 199`` at once, while it reads; answers ``end`` with the
    number of messages before it, if they were ``up 0``, ``up 1`` …
``/refuse/length``, ``/refuse/chunked``, ``/refuse/eof``
    the handshake is refused with 403; the end of the body is known by that

On each 101 it sets two cookies and ``X-Upstream``, and it prefers the subprotocol
``chat.v2``.  It answers pings as its library does.

With the environment variable ``WSRELAY_PEERS=direct`` clients connect straight to the
upstreams, which shows what the peers themselves do; tests of the relay alone are skipped.
"""
