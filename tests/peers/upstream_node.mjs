// The upstream made with node's `ws` (behaviour: see the package).

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const REFUSAL_BODY = Buffer.from("No entry, says the upstream: ünknown.\n");
const MESSAGES = 200;

const report = (event, facts) => console.log(JSON.stringify({ event, ...facts }));

const behaviours = {
  "/echo": (socket) => {
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  },
  "/fragments": (socket) => {
    socket.on("message", (data, binary) => {
      const pieces = binary ? [...data].map((byte) => Buffer.of(byte)) : [...data.toString()];
      pieces.forEach((piece, i) => socket.send(piece, { fin: i === pieces.length - 1 }));
    });
  },
  "/bye": (socket) => {
    socket.once("message", () => socket.close(4001, "bye"));
  },
  "/ping": (socket) => {
    socket.on("message", (data) => socket.ping(data));
    socket.on("pong", (data) => socket.send(`pong ${data}`));
  },
  "/talk": (socket) => {
    let count = 0;
    let broken = "";
    socket.on("message", (data) => {
      const text = data.toString();
      if (text === "end") return socket.send(broken || `${count}`);
      if (text !== `up ${count}`) broken ||= `${text} came after ${count} messages`;
      count += 1;
    });
    for (let number = 0; number < MESSAGES; number += 1) socket.send(`down ${number}`);
  },
};

const refusals = {
  length: [`Content-Length: ${REFUSAL_BODY.length}\r\n`, REFUSAL_BODY],
  chunked: [
    "Transfer-Encoding: chunked\r\n",
    Buffer.concat([
      Buffer.from("a\r\n"),
      REFUSAL_BODY.subarray(0, 10),
      Buffer.from(`\r\n${(REFUSAL_BODY.length - 10).toString(16)}\r\n`),
      REFUSAL_BODY.subarray(10),
      Buffer.from("\r\n0\r\n\r\n"),
    ]),
  ],
  eof: ["", REFUSAL_BODY],
};

function refuse(stream, how) {
  const [header, body] = refusals[how];
  stream.write(
    "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nConnection: close\r\n" +
      'WWW-Authenticate: Basic realm="tests"\r\nX-Reason: nobody may\r\n' + header + "\r\n",
  );
  stream.end(body);
}

function pairs(rawHeaders) {
  return rawHeaders.flatMap((name, i) => (i % 2 ? [] : [[name, rawHeaders[i + 1]]]));
}

const server = createServer();
const sockets = new WebSocketServer({
  noServer: true,
  perMessageDeflate: { threshold: 0, ...JSON.parse(process.argv[2] ?? "{}") },
  maxPayload: 0,
  handleProtocols: (offered) => (offered.has("chat.v2") ? "chat.v2" : false),
});

sockets.on("headers", (headers) => {
  headers.push("Set-Cookie: a=1; Path=/", "Set-Cookie: b=2", "X-Upstream: yes");
});

sockets.on("connection", (socket, request) => {
  const path = request.url;
  report("open", {
    path,
    headers: pairs(request.rawHeaders),
    subprotocol: socket.protocol || null,
    extensions: socket.extensions,
  });
  socket.on("ping", (data) => report("ping", { path, payload: data.toString("latin1") }));
  socket.on("error", (error) => report("error", { path, message: error.message }));
  socket.on("close", (code, reason) => report("close", { path, code, reason: `${reason}` }));
  behaviours[path.split("?")[0]](socket);
});

server.on("upgrade", (request, stream, head) => {
  stream.on("error", (error) => report("error", { path: request.url, message: error.message }));
  const [, refused] = /^\/refuse\/(\w+)/.exec(request.url) ?? [];
  if (refused) return refuse(stream, refused);
  sockets.handleUpgrade(request, stream, head, (socket) =>
    sockets.emit("connection", socket, request),
  );
});

server.listen(0, "127.0.0.1", () => report("listening", { port: server.address().port }));
