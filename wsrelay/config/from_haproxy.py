"""The keywords of HAProxy's websocket guides."""

from __future__ import annotations

from typing import Final

from wsrelay.config.elsewhere import PINGED, Table, needless, never, says

__all__ = ["HAPROXY"]

_FRONTENDS: Final = Table(
    "HAProxy: frontends",
    (
        needless("mode http", "nothing else is relayed; a raw TCP stream is not"),
        says("bind :80", "[listener] endpoint = tcp:80"),
        says("bind :443 ssl crt site.pem", "[listener] certificate = site.pem"),
        says("bind :443 ssl crt /etc/haproxy/certs/", "[listener] certificates = certs"),
        says("bind … ssl-min-ver TLSv1.2", "[listener] min_tls = 1.2"),
        says(
            "bind … ca-file ca.pem verify required",
            "[listener] client_ca = ca.pem",
            "[listener] client_certificate = required",
        ),
        says(
            "bind … accept-proxy",
            "[listener] proxy_protocol = yes",
            "[listener] trusted_proxies = 10.0.0.0/8",
        ),
        needless("bind … alpn h2,http/1.1", "http/1.1 is what TLS clients are told"),
        says("default_backend web", "[route] pool = web"),
        says("use_backend ws if is_ws", "[route] pool = ws", remark="of the route that is for it"),
        says("acl is_ws path_beg /ws", "[route] path = /ws"),
        says("acl is_ws path /ws", "[route] path = = /ws"),
        says("acl is_room path_reg ^/room/[0-9]+$", "[route] path = ~ ^/room/[0-9]+$"),
        says("acl host_ws hdr(host) -i ws.example.com", "[route] host = ws.example.com"),
        never(
            "acl is_websocket hdr(Upgrade) -i websocket",
            "a route's pool gets upgrades and plain HTTP alike; part them by host or path",
        ),
        says(
            "http-request deny if !is_websocket",
            "[route] http = no",
            remark="plain HTTP gets 426; broken handshakes get 400 anyway",
        ),
        says("http-request deny if !office", "[route] allow = 10.0.0.0/8"),
        never(
            "http-request deny if !valid_protocol",
            "the upstream may refuse a subprotocol, and so may a policy of yours",
        ),
        says("http-request redirect scheme https", "[route] redirect = https://{host}"),
        says("redirect scheme https", "[route] redirect = https://{host}"),
        says("http-request set-header X-Served-By edge", "[route] set_header = X-Served-By: edge"),
        says("http-request del-header X-Debug", "[route] remove_header = X-Debug"),
        says("http-request set-path %[path,regsub(^/ws,)]", "[route] strip_prefix = yes"),
        never("http-response set-header X edge", "answers pass as the upstream gave them"),
        says("http-request track-sc0 src", "[route] connections_per_ip = 10"),
        needless("option forwardfor", "X-Forwarded-For is set, and so are -Proto, -Host and -Port"),
        needless("option http-server-close", "each request is routed by itself"),
        needless("option http-keep-alive", "connections are kept on both sides"),
        says("option httplog", "[log] format = text"),
        needless("option logasap", "a session is logged when it opens, and when it ends"),
        says("log 127.0.0.1 local0", "[log] access = -", remark="systemd takes what is printed"),
        says("maxconn 60000", "[listener] max_connections = 60000"),
        says("backlog 10000", "[listener] backlog = 10000"),
        never("errorfile 503 /etc/haproxy/503.http", "own answers are short texts with the cause"),
        says("stats uri /stats", "[admin] listen = tcp:9000:interface=127.0.0.1"),
        says(
            "stats socket /run/haproxy.sock",
            "[admin] listen = unix:/run/wsrelay.sock",
            remark="``wsrelay status``, ``drain``, ``weight`` and others use it",
        ),
    ),
)

_TIMEOUTS: Final = Table(
    "HAProxy: timeouts",
    (
        needless("timeout client 25s", PINGED),
        needless("timeout server 25s", PINGED),
        needless("timeout tunnel 1h", PINGED),
        says("timeout connect 5s", "[route] connect_timeout = 5s"),
        says("timeout http-request 15s", "[listener] handshake_timeout = 15s"),
        needless(
            "timeout http-keep-alive 1s", "a connection waits 75 seconds for its next request"
        ),
        says("timeout queue 30s", "[pool] queue_timeout = 30s"),
        says("timeout client-fin 5s", "[route] close_timeout = 5s"),
        says("timeout check 1s", "[pool] health_check = tcp timeout=1s"),
        says("hard-stop-after 30s", "[relay] drain_timeout = 30s"),
    ),
)

_BACKENDS: Final = Table(
    "HAProxy: backends",
    (
        says("server ws1 10.0.0.1:8080", "[pool] upstreams = ws://10.0.0.1:8080 name=ws1"),
        says("server … weight 10", "[pool] upstreams = ws://10.0.0.1:8080 weight=10"),
        says(
            "server … maxconn 30000", "[pool] upstreams = ws://10.0.0.1:8080 max_connections=30000"
        ),
        says("server … backup", "[pool] upstreams = ws://10.0.0.1:8080 backup"),
        never("server … disabled", "take the line out, or say ``wsrelay drain POOL/UPSTREAM``"),
        says("server … check", "[pool] health_check = tcp"),
        says(
            "default-server inter 3s rise 2 fall 3",
            "[pool] health_check = tcp interval=3s rise=2 fall=3",
        ),
        never("server … fastinter 1s", "there is one interval"),
        says("server … slowstart 30s", "[pool] slow_start = 30s"),
        says("server … on-marked-down shutdown-sessions", "[pool] on_down = close"),
        says("server … observe layer7", "[pool] max_fails = 3", remark="it is the default"),
        says("server … send-proxy", "[pool] proxy_protocol = v1"),
        says("server … send-proxy-v2", "[pool] proxy_protocol = v2"),
        says(
            "server … ssl verify required ca-file ca.pem",
            "[pool] upstreams = wss://10.0.0.1:8443",
            "[pool] tls_ca = ca.pem",
        ),
        says("server … verifyhost chat.internal", "[pool] tls_name = chat.internal"),
        says("server … crt edge.pem", "[pool] tls_certificate = edge.pem"),
        says("option httpchk GET /health", "[pool] health_check = http path=/health"),
        says(
            "http-check expect status 200",
            "[pool] health_check = http path=/health status=200",
        ),
        says(
            "http-check send meth GET uri /ws hdr Upgrade websocket …",
            "[pool] health_check = websocket path=/ws",
            remark="and ``expect status 101``: the key, a ping and the close are checked, too",
        ),
        says("balance roundrobin", "[pool] balancer = round-robin"),
        says("balance leastconn", "[pool] balancer = least-connections", remark="the default"),
        says("balance first", "[pool] balancer = first"),
        says("balance random(2)", "[pool] balancer = random-two"),
        says("balance source", "[pool] balancer = hash key=ip"),
        says("balance uri", "[pool] balancer = hash key=path"),
        says("balance hdr(X-Tenant)", "[pool] balancer = hash key=header:X-Tenant"),
        says("balance url_param room", "[pool] balancer = hash key=query:room"),
        needless("hash-type consistent", "a hash is consistent"),
        says("hash-balance-factor 125", "[pool] balancer = hash key=ip load_factor=1.25"),
        says("cookie SRV insert indirect nocache", "[pool] sticky = cookie name=SRV"),
        says("stick on src", "[pool] balancer = hash key=ip"),
        says(
            "stick on url_param(sid)",
            "[pool] balancer = sticky-sid",
            remark="learns the session's id from the answer, too",
        ),
        needless("stick-table type ip size 1m", "a hash needs no table, a cookie neither"),
        says("option redispatch", "[route] retries = 2", remark="each try asks another upstream"),
        says("retries 3", "[route] retries = 3"),
        needless("option abortonclose", "a client that leaves leaves the queue"),
        says(
            "server-template ws 4 _ws._tcp.chat.internal",
            "[pool] discover = srv name=_ws._tcp.chat.internal",
        ),
        says(
            "server-template ws 4 chat.internal:9000",
            "[pool] discover = dns name=chat.internal port=9000",
        ),
        needless("resolvers dns", "the system's are used; ``discover`` takes resolver="),
        says("nbthread 4", "[relay] workers = 4"),
    ),
)

HAPROXY: Final = (_FRONTENDS, _TIMEOUTS, _BACKENDS)
