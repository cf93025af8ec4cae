"""Where upstreams come from that no file names: DNS addresses, SRV records, a watched file."""
