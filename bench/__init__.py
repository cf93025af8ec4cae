"""The benchmark: wsrelay beside other proxies, on one core each, driven in turn."""
