"""
The rules of HTTP/1.1 and of websocket on the wire: bytes in, values out.

Pure: nothing here does I/O, keeps time or knows of a reactor.
"""
