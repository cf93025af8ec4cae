"""The directives of nginx_tcp_proxy_module, and the annotations of ingress-nginx."""

from __future__ import annotations

from typing import Final

from wsrelay.config.elsewhere import PINGED, STREAMED, Table, needless, never, says

__all__ = ["INGRESS", "TCP_PROXY_MODULE"]

TCP_PROXY_MODULE: Final = Table(
    "nginx_tcp_proxy_module",
    (
        needless("tcp {", "listeners, routes and pools are all there is"),
        says("websocket_pass backend", "[route] pool = backend"),
        says("websocket_connect_timeout 5s", "[route] connect_timeout = 5s"),
        needless("websocket_read_timeout 60s", PINGED),
        needless("websocket_send_timeout 60s", PINGED),
        needless("timeout 60000", PINGED),
        says(
            "check interval=3000 rise=2 fall=5 timeout=1000",
            "[pool] health_check = tcp interval=3s rise=2 fall=5 timeout=1s",
            remark="``websocket`` instead of ``tcp`` asks what a client would",
        ),
        says(
            "check … type=http",
            "[pool] health_check = http path=/",
        ),
        says(
            "check … type=ssl_hello",
            "[pool] health_check = tcp",
            remark="it shakes hands with an upstream that is ``wss://``",
        ),
        never(
            "check … type=mysql", "nor smtp, pop3, imap; websockets and HTTP are what is relayed"
        ),
        says(
            'check_http_send "GET /health HTTP/1.0\\r\\n\\r\\n"',
            "[pool] health_check = http path=/health",
        ),
        says(
            "check_http_expect_alive http_2xx http_3xx",
            "[pool] health_check = http path=/ status=200-399",
        ),
        says(
            "check_status",
            "[admin] listen = tcp:9000:interface=127.0.0.1",
            remark="a dashboard, and /status.json; older pages write check_status, newer ones"
            " tcp_check_status",
        ),
        says("tcp_check_status", "[admin] listen = tcp:9000:interface=127.0.0.1"),
        needless("check_shm_size 1m", "the memory for counts has the size it needs"),
        says("busyness", "[pool] balancer = least-connections", remark="it is the default"),
        needless("proxy_buffer 4k", "a session holds one read, 64 KiB, for each direction"),
        needless("so_keepalive on", "both legs are pinged"),
    ),
)

INGRESS: Final = Table(
    "ingress-nginx",
    (
        needless("proxy-read-timeout: 3600", PINGED),
        needless("proxy-send-timeout: 3600", PINGED),
        needless("proxy-buffering: off", STREAMED),
        says("proxy-body-size: 10m", "[route] max_body_size = 10MiB"),
        says("proxy-connect-timeout: 5", "[route] connect_timeout = 5s"),
        says("affinity: cookie", "[pool] sticky = cookie"),
        says("session-cookie-name: route", "[pool] sticky = cookie name=route"),
        says("session-cookie-max-age: 3600", "[pool] sticky = cookie ttl=1h"),
        says("upstream-hash-by: $remote_addr", "[pool] balancer = hash key=ip"),
        says("load-balance: ewma", "[pool] balancer = least-connections"),
        says("backend-protocol: HTTPS", "[pool] upstreams = wss://chat.internal:8443"),
        says("rewrite-target: /$1", "[route] strip_prefix = yes"),
        says("ssl-redirect: true", "[route] redirect = https://{host}"),
        says("upstream-vhost: chat.internal", "[route] host_header = chat.internal"),
        says(
            "auth-tls-secret: ca",
            "[listener] client_ca = ca.pem",
            "[listener] client_certificate = required",
        ),
        says(
            "use-proxy-protocol: true",
            "[listener] proxy_protocol = yes",
            "[listener] trusted_proxies = 10.0.0.0/8",
        ),
        says("auth-url: http://auth/", "[route] policies = http-auth url=http://auth/"),
        says(
            "auth-response-headers: X-User",
            "[route] policies = http-auth url=http://auth/ pass=X-User",
        ),
        says(
            "auth-cache-duration: 200 5m",
            "[route] policies = http-auth url=http://auth/ cache=5m",
            remark="of answers that admit; it is 5s already",
        ),
        never(
            "auth-signin: …", "a client gets the 401; a page of the application sends it to log in"
        ),
        says(
            "auth-type: basic",
            "[route] policies = basic file=users",
            remark="bcrypt only: make the file with ``htpasswd -B``",
        ),
        says("auth-realm: Staff", "[route] policies = basic file=users realm=Staff"),
        says("whitelist-source-range: 10.0.0.0/8", "[route] allow = 10.0.0.0/8"),
        says("denylist-source-range: 10.0.0.0/8", "[route] deny = 10.0.0.0/8"),
        says("limit-connections: 10", "[route] connections_per_ip = 10"),
        says("limit-rps: 10", "[route] handshakes_per_ip = 10/s"),
        says(
            "worker-shutdown-timeout: 240s",
            "[relay] drain_timeout = 240s",
            remark="of a pod that ends; a reload waits for no session",
        ),
        never("configuration-snippet: …", "no code in annotations, and no Ingress is read"),
    ),
)
