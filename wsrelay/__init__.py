"""wsrelay: a websocket-aware reverse proxy and load balancer."""

__version__ = "0.1.0"
