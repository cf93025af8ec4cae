"""The directives of nginx's guides."""

from __future__ import annotations

from typing import Final

from wsrelay.config.elsewhere import PINGED, STREAMED, Table, needless, never, says

__all__ = ["NGINX"]

_UPGRADING: Final = Table(
    "Websockets through nginx",
    (
        says(
            "proxy_pass http://backend",
            "[route] pool = backend",
            "[pool] upstreams = ws://10.0.0.1:8001",
            remark="ws:// is for plain HTTP, too: a route with a pool relays both alike",
        ),
        says(
            "proxy_pass http://backend/base/",
            "[route] strip_prefix = yes",
            "[pool] upstreams = ws://10.0.0.1:8001/base",
            remark="the first replaces the matched prefix, the second puts a path in front",
        ),
        says("proxy_pass https://backend", "[pool] upstreams = wss://10.0.0.1:8001"),
        says("proxy_pass http://unix:/run/chat.sock", "[pool] upstreams = unix:/run/chat.sock"),
        needless("proxy_http_version 1.1", "upstreams are spoken to in HTTP/1.1"),
        needless(
            "proxy_set_header Upgrade $http_upgrade", "a handshake is passed on as a handshake"
        ),
        needless("proxy_set_header Connection $connection_upgrade", "the relay writes it itself"),
        needless(
            "map $http_upgrade $connection_upgrade",
            "upgrades and plain requests are told apart one by one",
        ),
        needless("proxy_set_header Host $host", "the client's Host is kept"),
        says("proxy_set_header Host $proxy_host", "[route] host_header = upstream"),
        needless("proxy_set_header X-Real-IP $remote_addr", "the relay sets it"),
        needless(
            "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for",
            "the relay sets it, and believes what came only from ``trusted_proxies``",
        ),
        needless(
            "proxy_set_header X-Forwarded-Proto $scheme", "the relay sets it, and -Host and -Port"
        ),
        needless("proxy_set_header Origin $http_origin", "it passes as it came"),
        says('proxy_set_header Origin ""', "[route] remove_header = Origin"),
        says("proxy_set_header X-Served-By edge", "[route] set_header = X-Served-By: edge"),
        never(
            "add_header X-Served-By edge",
            "answers pass as the upstream gave them; so ``proxy_hide_header`` has no like either",
        ),
        needless(
            "proxy_redirect off",
            "Location passes as the upstream wrote it; it cannot be rewritten here",
        ),
        never("proxy_cache chat", "nothing is cached"),
    ),
)

_WAITING: Final = Table(
    "nginx: timeouts, buffers, limits",
    (
        needless("proxy_read_timeout 3600s", PINGED),
        needless("proxy_send_timeout 3600s", PINGED),
        says("proxy_connect_timeout 5s", "[route] connect_timeout = 5s"),
        says("client_header_timeout 10s", "[listener] handshake_timeout = 10s"),
        says("client_body_timeout 60s", "[route] http_timeout = 60s"),
        says(
            "send_timeout 60s",
            "[route] http_timeout = 60s",
            "[route] slow_consumer = 60s",
            remark="the first for plain HTTP, the second for websockets",
        ),
        needless("keepalive_timeout 75s", "a connection waits 75 seconds for its next request"),
        needless("proxy_buffering off", STREAMED),
        needless("proxy_request_buffering off", STREAMED),
        needless("proxy_buffers 8 16k", "a session holds one read, 64 KiB, for each direction"),
        needless("proxy_buffer_size 16k", "an answer's head may have 64 KiB"),
        needless("client_body_buffer_size 128k", STREAMED),
        says(
            "client_max_body_size 10m",
            "[route] max_body_size = 10MiB",
            remark="off if nothing is said (nginx: 1m); of messages it is max_message_size",
        ),
        says("client_header_buffer_size 16k", "[listener] max_header_size = 16KiB"),
        says("large_client_header_buffers 4 16k", "[listener] max_header_size = 16KiB"),
        needless("tcp_nodelay on", "it is on"),
        says(
            "limit_conn addr 10",
            "[route] connections_per_ip = 10",
            remark="counts websocket sessions, not plain requests",
        ),
        says(
            "limit_req zone=one burst=20",
            "[route] handshakes_per_ip = 10/s burst 20",
            remark="counts websocket handshakes; those above it are refused, none waits",
        ),
        never(
            "limit_rate 1m",
            "what goes to clients is as fast as they are; ``bytes`` limits what they send",
        ),
        says("allow 10.0.0.0/8", "[route] allow = 10.0.0.0/8", remark="then all others may not"),
        says(
            "deny all",
            "[route] deny = 0.0.0.0/0",
            remark="and ::/0, on a line of its own; of allow and deny the most specific wins",
        ),
        says(
            "if ($http_origin !~ chat.example.com)",
            "[route] origins = https://chat.example.com",
            remark="there are no conditions; what they mostly ask has an option",
        ),
        says("auth_request /auth", "[route] policies = http-auth url=http://127.0.0.1:9000/auth"),
        says(
            "auth_request_set $user $upstream_http_x_user",
            "[route] policies = http-auth url=http://127.0.0.1:9000/auth pass=X-User",
            remark="the header goes upstream under its own name",
        ),
        says("auth_basic Staff", "[route] policies = basic file=users realm=Staff"),
        says(
            "auth_basic_user_file users",
            "[route] policies = basic file=users",
            remark="bcrypt only: make it with ``htpasswd -B``",
        ),
        says(
            "auth_jwt Chat token=$arg_token",
            "[route] policies = jwt jwks_file=keys.json from=query:token",
            remark="without ``from`` it is the one in Authorization, and the session ends with it",
        ),
        says("auth_jwt_key_file keys.json", "[route] policies = jwt jwks_file=keys.json"),
        says(
            "auth_jwt_key_request /keys",
            "[route] policies = jwt jwks_url=https://login.example.com/keys",
        ),
        says("auth_jwt_leeway 30s", "[route] policies = jwt jwks_file=keys.json leeway=30s"),
        never("satisfy any", "all policies have to admit a client; a plugin of yours may combine"),
    ),
)

_UPSTREAMS: Final = Table(
    "nginx: upstream groups",
    (
        says(
            "server 10.0.0.1:8001",
            "[pool] upstreams = ws://10.0.0.1:8001",
            remark="one a line; an upstream group is a pool",
        ),
        says("upstream backend {", "[pool] upstreams = ws://10.0.0.1:8001"),
        says("server … weight=3", "[pool] upstreams = ws://10.0.0.1:8001 weight=3"),
        says("server … max_conns=500", "[pool] upstreams = ws://10.0.0.1:8001 max_connections=500"),
        says("server … backup", "[pool] upstreams = ws://10.0.0.1:8001 backup"),
        never("server … down", "take the line out, or say ``wsrelay drain POOL/UPSTREAM``"),
        says(
            "server … max_fails=3 fail_timeout=10s",
            "[pool] max_fails = 3",
            "[pool] fail_timeout = 10s",
            remark="for all upstreams of the pool",
        ),
        says("server … slow_start=30s", "[pool] slow_start = 30s"),
        says(
            "server chat.internal:8001 resolve",
            "[pool] discover = dns name=chat.internal port=8001",
        ),
        needless("resolver 10.0.0.53", "the system's is used; ``discover = dns`` takes resolver="),
        needless("zone backend 64k", "workers share all counts without being told"),
        says("queue 100 timeout=70s", "[pool] queue_timeout = 70s", "[pool] queue_size = 100"),
        needless(
            "keepalive 32",
            "up to 64 connections an upstream wait for the next request, as long as it allows",
        ),
        says("least_conn", "[pool] balancer = least-connections", remark="it is the default"),
        says("ip_hash", "[pool] balancer = hash key=ip", remark="of the whole address"),
        says("hash $remote_addr consistent", "[pool] balancer = hash key=ip"),
        says("hash $request_uri consistent", "[pool] balancer = hash key=path"),
        says("hash $arg_room consistent", "[pool] balancer = hash key=query:room"),
        says("hash $cookie_user consistent", "[pool] balancer = hash key=cookie:user"),
        says("hash $http_x_tenant consistent", "[pool] balancer = hash key=header:X-Tenant"),
        says("random two", "[pool] balancer = random-two"),
        says("sticky cookie srv_id expires=1h", "[pool] sticky = cookie name=srv_id ttl=1h"),
        says(
            "sticky learn …",
            "[pool] balancer = sticky-sid",
            remark="for Socket.IO; other sessions: sticky = cookie",
        ),
        says(
            "proxy_next_upstream error timeout",
            "[route] retries = 2",
            remark="a plain request is sent again only if none of its bytes went out; an answer,"
            " 502 or not, is the client's",
        ),
        says(
            "proxy_next_upstream_tries 3",
            "[route] retries = 2",
            remark="others beside the first one",
        ),
        says("proxy_ssl_verify on", "[pool] tls_verify = yes", remark="it is the default"),
        says("proxy_ssl_trusted_certificate ca.pem", "[pool] tls_ca = ca.pem"),
        says("proxy_ssl_name chat.internal", "[pool] tls_name = chat.internal"),
        needless("proxy_ssl_server_name on", "SNI is sent"),
        says("proxy_ssl_certificate edge.pem", "[pool] tls_certificate = edge.pem"),
        says("proxy_ssl_certificate_key edge.key", "[pool] tls_key = edge.key"),
    ),
)

_SERVERS: Final = Table(
    "nginx: servers and locations",
    (
        says("listen 80", "[listener] endpoint = tcp:80"),
        says("listen [::]:80", r"[listener] endpoint = tcp6:80:interface=\:\:"),
        says("listen unix:/run/r.sock", "[listener] endpoint = unix:/run/r.sock:mode=660"),
        says(
            "listen 443 ssl",
            "[listener] endpoint = tcp:443",
            "[listener] certificate = site.pem",
            remark="a listener with a certificate speaks TLS",
        ),
        says(
            "listen 80 proxy_protocol",
            "[listener] proxy_protocol = yes",
            "[listener] trusted_proxies = 10.0.0.0/8",
        ),
        never("http2 on", "websockets and plain HTTP are HTTP/1.1 here; TLS clients are told so"),
        says(
            "server_name chat.example.com",
            "[route] host = chat.example.com",
            remark="one to a route; each location is a route of its own, which repeats it",
        ),
        says("server_name *.example.com", "[route] host = *.example.com"),
        says("location /chat/ {", "[route] path = /chat/"),
        says("location = /chat {", "[route] path = = /chat"),
        says(
            "location ^~ /chat/ {",
            "[route] path = /chat/",
            remark="a prefix goes before regular expressions anyway",
        ),
        says(
            "location ~ ^/room/[0-9]+$ {",
            "[route] path = ~ ^/room/[0-9]+$",
            remark="prefixes go before it here, so a route with path = / would leave it nothing",
        ),
        says("location ~* ^/chat {", "[route] path = ~ (?i)^/chat"),
        says("rewrite ^/ws/(.*) /$1", "[route] strip_prefix = yes"),
        says("return 301 https://$host$request_uri", "[route] redirect = https://{host}"),
        says("root /var/www/html", "[route] static = /var/www/html"),
        says(
            "alias /var/www/html/", "[route] static = /var/www/html", "[route] strip_prefix = yes"
        ),
        needless("index index.html", "a directory is its index.html, and never a listing"),
        never(
            "try_files $uri /index.html",
            "a path is a file or a 404; give the application routes of its own",
        ),
        needless("gzip_static on", "x.gz beside x is sent to who takes it, unless it is older"),
        never("gzip on", "nothing is compressed here; what upstreams and clients agree on passes"),
        never("expires 1h", "files have ETag and Last-Modified, so that asking again is cheap"),
        never("error_page 502 /502.html", "the relay's own answers are short texts with the cause"),
        says(
            "set_real_ip_from 10.0.0.0/8",
            "[listener] trusted_proxies = 10.0.0.0/8",
            remark="whose X-Forwarded-For and -Proto, and PROXY headers, are believed",
        ),
        needless("real_ip_header X-Forwarded-For", "it is the one that is read"),
        says(
            "real_ip_header proxy_protocol",
            "[listener] proxy_protocol = yes",
            "[listener] trusted_proxies = 10.0.0.0/8",
        ),
        needless("real_ip_recursive on", "the last address that is no trusted proxy counts"),
        says("ssl_certificate site.pem", "[listener] certificate = site.pem"),
        says("ssl_certificate_key site.key", "[listener] key = site.key"),
        says(
            "ssl_certificate … for each server_name",
            "[listener] certificates = tls",
            remark="a directory of PEM files, chosen by SNI, read again at each reload",
        ),
        says("ssl_protocols TLSv1.2 TLSv1.3", "[listener] min_tls = 1.2"),
        needless("ssl_ciphers HIGH:!aNULL", "those with forward secrecy and AEAD, no others"),
        needless("ssl_session_cache shared:SSL:10m", "sessions resume"),
        needless("ssl_session_tickets on", "sessions resume, and reloads do not forget them"),
        says(
            "ssl_client_certificate ca.pem",
            "[listener] client_ca = ca.pem",
            "[listener] client_certificate = required",
        ),
        says(
            "ssl_verify_client on",
            "[listener] client_certificate = required",
            remark="of all who come to that listener, whatever the host",
        ),
        says("ssl_verify_client optional", "[listener] client_certificate = optional"),
        needless(
            "proxy_set_header X-SSL-Client-S-DN $ssl_client_s_dn",
            "the relay sets it, and X-SSL-Client-Verify, where it asks for certificates",
        ),
    ),
)

_SERVICE: Final = Table(
    "nginx: the service",
    (
        says("access_log /var/log/r.log", "[log] access = /var/log/r.log"),
        says("access_log off", "[log] access = off"),
        says(
            "log_format main …",
            "[log] format = json",
            remark="all there is to say, under fixed names",
        ),
        says("error_log stderr warn", "[log] level = warn"),
        says("stub_status", "[admin] listen = tcp:9000:interface=127.0.0.1"),
        says("worker_processes auto", "[relay] workers = auto"),
        says(
            "worker_connections 10000",
            "[relay] max_connections = 10000",
            remark="of clients; each session has a connection to its upstream beside it",
        ),
        needless("worker_rlimit_nofile 65536", "LimitNOFILE in a unit of systemd"),
        says("worker_shutdown_timeout 30s", "[relay] drain_timeout = 30s"),
        needless("user www", "``twistd --uid --gid``"),
        needless("daemon off", "``twistd -n``"),
        never("include sites/*.conf", "relay.ini is one file; ``${NAME}`` is from the environment"),
    ),
)

NGINX: Final = (_UPGRADING, _WAITING, _UPSTREAMS, _SERVERS, _SERVICE)
