"""Upstreams, the pools that hold them, and how one of them is chosen."""
