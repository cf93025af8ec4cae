// An upstream made with node's `ws` that tells each client, over HTTP or a websocket, what it
// asked for, and echoes what a websocket says then.  Argument: its name.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const name = process.argv[2];

function told(request) {
  const headers = request.rawHeaders.flatMap((field, i, all) => (i % 2 ? [] : [[field, all[i + 1]]]));
  return JSON.stringify({ name, method: request.method, path: request.url, headers });
}

const server = createServer((request, response) => {
  response.setHeader("Content-Type", "application/json");
  response.end(told(request));
});

new WebSocketServer({ server }).on("connection", (socket, request) => {
  socket.send(told(request));
  socket.on("message", (data, binary) => socket.send(data, { binary }));
});

server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ event: "listening", port: server.address().port }));
});
