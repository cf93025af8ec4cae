"""Who may come in, and how often: by Origin, by network, and by counting addresses.  Pure."""
