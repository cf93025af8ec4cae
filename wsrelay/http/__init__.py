"""Plain HTTP on the relay's listeners: requests for upstreams, files, redirects."""
