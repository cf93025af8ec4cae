"""The ``wsrelay`` commands that steer a running relay, over its admin endpoint."""
