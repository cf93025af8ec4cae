"""The demo: three small upstreams, one chat room and a page, all on loopback."""
