"""The relay.ini files of examples/: each is started as it stands, but for ports and paths."""
