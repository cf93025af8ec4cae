"""
Several relays as one: what they count, learn and are told together, by way of a Redis.

Nothing here is needed to relay: a Redis that is slow, or gone, leaves every relay with what it
knows itself.
"""
