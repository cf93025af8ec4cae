// A Socket.IO server with one room.  Its argument is the name it tells everybody who joins.

import { createServer } from "node:http";
import { Server } from "socket.io";

const [, , name] = process.argv;
const http = createServer();
const io = new Server(http, { transports: ["websocket"] });

io.on("connection", (socket) => {
  socket.join("room");
  socket.on("say", (message) => io.to("room").emit("said", message));
  socket.emit("welcome", name);
});

http.listen(0, "127.0.0.1", () =>
  console.log(JSON.stringify({ event: "listening", port: http.address().port })),
);
