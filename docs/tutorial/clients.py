"""Clients that come back a second after they were closed: python clients.py URL NUMBER."""

import sys

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor


class Client(WebSocketClientProtocol):
    def onOpen(self):
        self.sendMessage(b"hello")

    def onMessage(self, payload, isBinary):
        print(payload.decode(), flush=True)

    def onClose(self, wasClean, code, reason):
        print(f"closed with {code}: {reason}", flush=True)
        reactor.callLater(1, self.factory.connect)


class Clients(WebSocketClientFactory):
    protocol = Client

    def connect(self):
        reactor.connectTCP(self.host, self.port, self)

    def clientConnectionFailed(self, connector, reason):
        reactor.callLater(1, self.connect)


url, number = sys.argv[1:]
clients = Clients(url)
for _ in range(int(number)):
    clients.connect()
reactor.run()
