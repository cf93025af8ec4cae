"""
The balancers that ship, one algorithm a file.  Pure: no reactor, no sockets.

They know `wsrelay.interfaces` and nothing else of wsrelay, as a user's own would.
"""
