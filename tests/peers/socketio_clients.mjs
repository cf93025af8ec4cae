// Socket.IO clients that never stop talking: each says its next number when it has heard its
// own last one.  Arguments: how many, and the URLs they share out.  A line `more` on standard
// input makes each report `spoke` after 50 more of its messages came back, `end` makes each
// report what it has seen.  `gaps` are numbers of one speaker that did not follow each other
// although the listener was connected all the time.

import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [, , count, ...urls] = process.argv;
const report = (event, facts) => console.log(JSON.stringify({ event, ...facts }));

class Talker {
  number = 0;
  due = Infinity;
  servers = [];
  gaps = [];
  errors = [];
  lastOf = new Map();

  constructor(id) {
    this.id = id;
    this.socket = io(urls[id % urls.length], {
      transports: ["websocket"],
      forceNew: true,
      reconnectionDelay: 50,
      reconnectionDelayMax: 200,
    });
    this.socket.on("welcome", (server) => this.join(server));
    this.socket.on("said", (message) => this.hear(message));
    this.socket.on("connect_error", (error) => this.errors.push(error.message));
  }

  join(server) {
    this.servers.push(server);
    this.lastOf.clear();
    report("welcome", { client: this.id, server, visit: this.servers.length });
    this.say();
  }

  say() {
    this.number += 1;
    this.socket.emit("say", { from: this.id, number: this.number });
  }

  hear({ from, number }) {
    const last = this.lastOf.get(from);
    if (last !== undefined && number !== last + 1) this.gaps.push([from, last, number]);
    this.lastOf.set(from, number);
    if (from !== this.id) return;
    if (number >= this.due) {
      this.due = Infinity;
      report("spoke", { client: this.id, server: this.servers.at(-1) });
    }
    this.say();
  }

  summary() {
    const { id: client, servers, gaps, errors } = this;
    report("summary", { client, servers, gaps, errors, heard: [...this.lastOf.keys()] });
    this.socket.close();
  }
}

const talkers = Array.from({ length: Number(count) }, (_, id) => new Talker(id));

for await (const line of createInterface({ input: process.stdin })) {
  if (line === "more") for (const talker of talkers) talker.due = talker.number + 50;
  else for (const talker of talkers) talker.summary();
}
