"""Active health checks: asking upstreams, on connections of their own, whether they work."""
