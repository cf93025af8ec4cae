// A client made with node's `ws`.  The first line of standard input is a JSON object that
// says how to connect, each later line one thing to do; every event is printed as one line.

import { createInterface } from "node:readline";
import { WebSocket } from "ws";

const report = (event, facts) => console.log(JSON.stringify({ event, ...facts }));
const pairs = (raw) => raw.flatMap((name, i) => (i % 2 ? [] : [[name, raw[i + 1]]]));
const fromWire = ({ text, base64 }) => text ?? Buffer.from(base64, "base64");

function connect({ url, subprotocols, headers, deflate }) {
  const socket = new WebSocket(url, subprotocols, {
    headers,
    perMessageDeflate: deflate && { threshold: 0, ...deflate },
    maxPayload: 0,
  });
  let answer;
  socket.on("upgrade", (response) => (answer = pairs(response.rawHeaders)));
  socket.on("open", () =>
    report("open", {
      headers: answer,
      subprotocol: socket.protocol || null,
      extensions: socket.extensions,
    }),
  );
  socket.on("unexpected-response", async (request, response) => {
    const body = Buffer.concat(await response.toArray()).toString();
    const { statusCode: status, rawHeaders } = response;
    report("refused", { status, headers: pairs(rawHeaders), body });
    process.exit();
  });
  socket.on("message", (data, binary) =>
    report("message", binary ? { base64: data.toString("base64") } : { text: `${data}` }),
  );
  socket.on("pong", (data) => report("pong", { payload: data.toString("latin1") }));
  socket.on("error", (error) => report("error", { message: error.message }));
  socket.on("close", (code, reason) => report("close", { code, reason: `${reason}` }));
  return socket;
}

const actions = {
  send: (socket, content) => socket.send(fromWire(content)),
  fragments: (socket, { fragments }) =>
    fragments.forEach((fragment, i) =>
      socket.send(fromWire(fragment), { fin: i === fragments.length - 1 }),
    ),
  ping: (socket, { payload }) => socket.ping(Buffer.from(payload, "latin1")),
  close: (socket, { code, reason }) => socket.close(code ?? undefined, reason),
};

let socket;
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (socket) actions[order.do](socket, order);
  else socket = connect(order);
}
process.exit();
