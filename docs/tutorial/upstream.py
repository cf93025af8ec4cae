"""An upstream that says who it is, and echoes: python upstream.py NAME PORT."""

import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor


class Echo(WebSocketServerProtocol):
    def onMessage(self, payload, isBinary):
        self.sendMessage(f"{name} says ".encode() + payload)


name, port = sys.argv[1:]
factory = WebSocketServerFactory()
factory.protocol = Echo
reactor.listenTCP(int(port), factory, interface="127.0.0.1")
reactor.run()
