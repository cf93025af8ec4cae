// A server of one of the libraries that poll before they have a websocket.  Arguments: the
// library, and the name that it tells everybody who connects.  It answers each message with the
// same message, says numbers of its own meanwhile, and reports every request that it gets.

import { createServer } from "node:http";

const [, , library, name] = process.argv;
const report = (event, facts) => console.log(JSON.stringify({ event, ...facts }));
const http = createServer((request, response) => response.writeHead(404).end());

const attach = {
  async "socket.io"() {
    const { Server } = await import("socket.io");
    new Server(http).on("connection", talkWithSocket);
  },

  async "socket.io-2"() {
    const { default: serve } = await import("socket.io-2");
    serve(http).on("connection", talkWithSocket);
  },

  async sockjs() {
    const { default: sockjs } = await import("sockjs");
    const server = sockjs.createServer({ prefix: "/sockjs", log: () => {} });
    server.on("connection", (socket) => {
      const say = (word, value) => socket.write(JSON.stringify([word, value]));
      const stop = talk(say);
      socket.on("data", (text) => say("heard", JSON.parse(text)));
      socket.on("close", stop);
    });
    server.installHandlers(http);
  },
};

function talkWithSocket(socket) {
  const stop = talk((word, value) => socket.emit(word, value));
  socket.on("say", (number) => socket.emit("heard", number));
  socket.on("disconnect", stop);
}

function talk(say) {
  let number = 0;
  say("welcome", name);
  const timer = setInterval(() => say("told", (number += 1)), 20);
  return () => clearInterval(timer);
}

await attach[library]();
const seen = (request, kind) => report("request", { kind, method: request.method, url: request.url });
http.prependListener("request", (request) => seen(request, "plain"));
http.prependListener("upgrade", (request) => seen(request, "upgrade"));
http.listen(0, "127.0.0.1", () => report("listening", { port: http.address().port }));
