"""Lets only harmless operations of the subprotocol graphql-transport-ws pass."""

import json
import re

from zope.interface import implementer

from wsrelay.interfaces import DOWN, DROP, UP, Close, IMessageFilter

HIDDEN = re.compile(r'"""(?:\\"""|[^"]|"(?!""))*(?:"""|$)|"(?:\\.|[^"\\\n\r])*"?|#[^\n\r]*')
ARGUMENTS = re.compile(r"\([^()]*\)")  # their braces are those of input values


@implementer(IMessageFilter)
class GraphQLGuard:
    """*depth* of a document; *names*: ``A,B``, which operations have to have, if there are any."""

    def __init__(self, reactor, depth="8", names=""):
        if not depth.isdecimal():
            raise ValueError(f"depth={depth}: expected a whole number")
        self.depth, self.names = int(depth), set(filter(None, names.split(",")))

    def message(self, session, direction, payload, is_binary):
        if direction != UP:
            return payload
        if session.subprotocol != "graphql-transport-ws":
            return Close(4406, "Subprotocol not acceptable")
        try:
            said = json.loads(payload)
            kind = said["type"]
            depth, names = measure(said["payload"]["query"]) if kind == "subscribe" else (0, set())
        except (ValueError, LookupError, TypeError, RecursionError):
            return Close(4400, "Invalid message")
        if kind == "connection_init":
            session.data[self] = True
        elif kind == "subscribe" and self not in session.data:
            return Close(4401, "Unauthorized")
        if depth <= self.depth and (not self.names or names <= self.names):
            return payload
        error = {"id": said.get("id"), "type": "error", "payload": [{"message": "not allowed"}]}
        session.send(DOWN, json.dumps(error))
        return DROP


def measure(document):
    """Return the depth of all definitions together, as fragments nest, and operations' names."""
    depth, level, deepest, head, names = 0, 0, 0, "", set()
    for part in re.findall("[{}]|[^{}]+", ARGUMENTS.sub(" ", HIDDEN.sub(" ", document))):
        if level == 0 and part == "{":
            kind, name = re.match(r"[\s,]*(\w*)[\s,]*(\w*)", head).groups()
            names |= set() if kind == "fragment" else {name}
            head, deepest = "", 0
        if part in "{}":
            level += 1 if part == "{" else -1
            deepest = max(deepest, level)
            depth += deepest if level == 0 else 0
        elif level == 0:
            head = part
    return depth, names
