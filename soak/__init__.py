"""
An endurance run: clients of every kind, for as long as one likes, and not a message lost.

``make soak MINUTES=10``, or ``python -m soak --help``.  Every message has a number and a
checksum, and both ends check them.
"""
