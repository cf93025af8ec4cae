"""What wsrelay adds to twistd: the balancers, discoveries, policies and filters that it ships."""

from twisted.application.service import ServiceMaker

from wsrelay.plugins import (
    BalancerPlugin,
    DiscoveryPlugin,
    FilterPlugin,
    PolicyPlugin,
    TimedBalancerPlugin,
)

wsrelay = ServiceMaker(
    "wsrelay", "wsrelay.tap", "A websocket-aware reverse proxy and load balancer.", "wsrelay"
)

least_connections = BalancerPlugin(
    "least-connections", "wsrelay.balancers.least_connections.LeastConnections"
)
round_robin = BalancerPlugin("round-robin", "wsrelay.balancers.round_robin.RoundRobin")
random_two = BalancerPlugin("random-two", "wsrelay.balancers.random_two.RandomTwo")
first = BalancerPlugin("first", "wsrelay.balancers.first.First")
hash_by_key = BalancerPlugin(
    "hash",
    "wsrelay.balancers.hash.Hash",
    {
        "key": "what is hashed: ip, path, header:NAME, cookie:NAME or query:NAME; no default",
        "load_factor": "the most that an upstream may carry, as a multiple of its fair share; "
        "1 or more, or off (1.25)",
    },
)
sticky_sid = TimedBalancerPlugin(
    "sticky-sid",
    "wsrelay.balancers.sticky_sid.StickySid",
    {
        "ttl": "how long a session is remembered after its last request; longer than Engine.IO's "
        "pingInterval and pingTimeout together (2m)",
        "size": "the most sessions that are remembered; those unused for longest go first (100000)",
        "param": "the query parameter with the session id (sid)",
    },
)

_SCHEME = "ws or wss (ws)"
_RESOLVER = "the name server to ask: ADDRESS, ADDRESS:PORT or system (system)"
_ASKED = "the longest time between two questions; a shorter time to live is kept (30s)"
_BASE = "path that every request's path is put behind (/)"

addresses_of_a_name = DiscoveryPlugin(
    "dns",
    "wsrelay.discovery.dns.Dns",
    {
        "name": "whole name whose addresses are the upstreams; no default",
        "port": "their port; no default",
        "scheme": f"{_SCHEME}; with wss the pool says tls_name",
        "family": "4 or 6 for addresses of IPv4 or of IPv6 only, or any (any)",
        "resolver": _RESOLVER,
        "every": _ASKED,
        "base": _BASE,
    },
)
srv_records = DiscoveryPlugin(
    "srv",
    "wsrelay.discovery.srv.Srv",
    {
        "name": "whole name of the SRV records: _ws._tcp.chat.internal; no default",
        "scheme": _SCHEME,
        "resolver": f"{_RESOLVER}; the targets' own names are always left to the system",
        "every": _ASKED,
        "base": _BASE,
    },
)
watched_file = DiscoveryPlugin(
    "file",
    "wsrelay.discovery.file.File",
    {
        "path": "file with one upstream a line, as in upstreams; no default",
        "every": "time between two looks at it (1s)",
    },
)

asking_another = PolicyPlugin(
    "http-auth",
    "wsrelay.policies.http_auth.HttpAuth",
    {
        "url": "http:// or https:// URL that is asked about each client; no default",
        "ca_file": "PEM file of the authorities for an https:// URL (the system's)",
        "timeout": "for an answer; less than the route's policy_timeout (4s)",
        "pass": "headers of the answer that go upstream, separated by commas (none)",
        "tag": "header of the answer whose values, separated by commas, tag the session (none)",
        "cache": "how long at most an answer that lets a client in is used again, or off (5s)",
        "cache_key": "what such an answer depends on: ip, method, host, path, query, header:NAME, "
        "cookie:NAME, separated by commas (all that is sent)",
    },
)
users_of_a_file = PolicyPlugin(
    "basic",
    "wsrelay.policies.basic.Basic",
    {
        "file": "file of users and bcrypt hashes, as htpasswd -B writes it; no default",
        "realm": "what a browser says the password is for (wsrelay)",
        "cache": "how long a password that was right is not checked again, or off (60s)",
        "user_header": "header that tells upstreams the user's name: X-Remote-User (none)",
    },
    needs="wsrelay[basic]",
)
tokens = PolicyPlugin(
    "jwt",
    "wsrelay.policies.jwt.Jwt",
    {
        "from": "where the token is: header, cookie:NAME, query:NAME, subprotocol (the one behind "
        "bearer), subprotocol:PREFIX; of several, separated by commas, the first counts (header)",
        "secret_file": "file with the secret of HS256, HS384 or HS512",
        "key_file": "PEM file with a public key or a certificate",
        "jwks_file": "file with a JSON Web Key Set",
        "jwks_url": "http:// or https:// URL of one; of these four there must be one",
        "jwks_ttl": "how long what was fetched is good for (10m)",
        "ca_file": "PEM file of the authorities for an https:// URL (the system's)",
        "algorithms": "those that may be used, separated by commas (all that the keys are for)",
        "issuer": "the iss that tokens must have, or several (any)",
        "audience": "the aud of which tokens must have one (tokens with an aud are refused)",
        "require": "claims that tokens must have, separated by commas, or off (exp)",
        "leeway": "by how much clocks may differ (10s)",
        "expire": "whether the session ends when the token does (yes)",
        "claim_headers": "headers that tell upstreams of claims: X-User:sub,X-Roles:roles (none)",
        "tags": "tags of the session that are made of claims: user:sub is user:42, say (none)",
        "realm": "what WWW-Authenticate calls this place (wsrelay)",
    },
    needs="wsrelay[jwt]",
)

_DIRECTION = "which messages: up (from the client), down or both (both)"

log_messages = FilterPlugin(
    "log",
    "wsrelay.filters.log.LogMessages",
    {
        "level": "of the lines: debug, info, warn or error (info)",
        "payload": "how much of a message is shown: characters, or bytes of a binary one, up to "
        "4096, or off (off)",
    },
)
deny_binary = FilterPlugin(
    "deny-binary",
    "wsrelay.filters.deny_binary.DenyBinary",
    {"direction": _DIRECTION, "code": "the close code (1003)"},
)
deny_pattern = FilterPlugin(
    "deny-pattern",
    "wsrelay.filters.deny_pattern.DenyPattern",
    {
        "pattern": "regular expression that denied text messages match; no default",
        "file": "file with more of them, one a line",
        "direction": _DIRECTION,
        "action": "close the session, or drop the message (close)",
        "code": "the close code (1008)",
        "reason": "the close frame's, one word (denied)",
        "limit": "length of the messages that are searched; longer ones are denied (16KiB)",
    },
)
