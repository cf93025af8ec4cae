// A chat room on four processes.
//
// The process that is started here starts the four and passes on between them what is said, as
// Redis or another adapter of Socket.IO does between machines.  When one of the four has ended,
// Enter starts it again.  PORTS are theirs, separated by spaces.

import { fork } from "node:child_process";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Server } from "socket.io";

const ports = (process.env.PORTS ?? "3001 3002 3003 3004").split(" ");
const [, , own] = process.argv;

if (own === undefined) startAll();
else serve(Number(own), ports[own - 1]);

function startAll() {
  const running = new Map();

  const start = (number) => {
    const child = fork(fileURLToPath(import.meta.url), [String(number)]);
    running.set(number, child);
    child.on("message", (message) => {
      for (const other of running.values()) {
        if (other !== child && other.connected) other.send(message);
      }
    });
    child.on("exit", (code, signal) => {
      running.delete(number);
      console.log(`process ${number} has ended (${signal ?? code}); Enter starts it again`);
    });
  };

  const startMissing = () => {
    ports.forEach((_, index) => running.has(index + 1) || start(index + 1));
  };
  startMissing();
  createInterface({ input: process.stdin }).on("line", startMissing);
}

function serve(number, port) {
  const http = createServer((_, response) => response.end(`process ${number}\n`));
  const io = new Server(http);

  const tell = (message) => io.emit("said", message);
  process.on("message", tell);
  process.on("disconnect", () => process.exit()); // the one that started it is gone

  io.on("connection", (socket) => {
    socket.emit("welcome", { process: number, pid: process.pid });
    socket.on("say", (name, text) => {
      if (typeof name !== "string" || typeof text !== "string") return;
      const message = { name: name.slice(0, 30), text: text.slice(0, 500), process: number };
      tell(message);
      process.send(message);
    });
  });

  http.listen(port, "127.0.0.1", () => {
    console.log(`process ${number} has pid ${process.pid} and listens on port ${port}`);
  });
}
