"""What wsrelay adds to twistd, and the balancers that it ships."""

from twisted.application.service import ServiceMaker

from wsrelay.plugins import BalancerPlugin

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
