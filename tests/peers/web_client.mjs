// One client that polls and, if it may, goes on with a websocket, as one profile of a browser:
// it has a cookie jar and an address of its own.  Arguments: the library, the URL, the transports
// (separated by commas, the one to begin with first), the address to connect from, and `cookies`
// if it is to keep them.
//
// It says a number, and the next one when the last came back.  It reports `settled` when the last
// of its transports is in use and 40 more came back, each time it has connected anew; and what it
// has seen, when a line comes on standard input.  `gaps` are numbers that did not follow each other.

import http from "node:http";
import { createInterface } from "node:readline";

const [, , library, url, transports, address, cookies] = process.argv;
const report = (event, facts) => console.log(JSON.stringify({ event, ...facts }));
const wanted = transports.split(",");

/** Connects from one address, and keeps cookies for libraries that do not themselves. */
class ProfileAgent extends http.Agent {
  jar = new Map();

  addRequest(request, ...rest) {
    if (cookies && this.jar.size) {
      request.setHeader("Cookie", [...this.jar].map((pair) => pair.join("=")).join("; "));
    }
    const keep = (response) => this.keep(response.headers["set-cookie"] ?? []);
    request.prependListener("response", keep);
    super.addRequest(request, ...rest);
  }

  keep(lines) {
    for (const line of lines) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      this.jar.set(name, value);
    }
  }
}

const agent = new ProfileAgent({ keepAlive: true, localAddress: address });
const visits = [];
const errors = [];

/** One connection, from its welcome to its end. */
class Visit {
  number = 0;
  told = 0;
  gaps = [];
  due = Infinity;
  isSettled = false;

  constructor(server, say, transport) {
    Object.assign(this, { server, say, transport });
    this.next();
  }

  next() {
    this.say((this.number += 1));
  }

  heard(number) {
    if (number !== this.number) this.gaps.push(["heard", this.number, number]);
    if (this.due === Infinity && this.transport() === wanted.at(-1)) this.due = number + 40;
    if (number >= this.due && !this.isSettled) this.settle();
    // With a pause, so that the other side's numbers come between.
    setTimeout(() => this.next(), 10);
  }

  settle() {
    this.isSettled = true;
    const transport = this.transport();
    report("settled", { visit: visits.length, server: this.server, transport });
  }

  hearTold(number) {
    if (number !== this.told + 1) this.gaps.push(["told", this.told, number]);
    this.told = number;
  }

  get facts() {
    const { server, number, told, gaps } = this;
    return { server, number, told, gaps };
  }
}

function connectWithSocketIo(io, options) {
  const socket = io(url, {
    agent,
    transports: wanted,
    reconnectionDelay: 50,
    reconnectionDelayMax: 200,
    ...options,
  });
  const say = (number) => socket.connected && socket.emit("say", number);
  const transport = () => socket.io.engine.transport.name;
  socket.on("welcome", (server) => visits.push(new Visit(server, say, transport)));
  socket.on("heard", (number) => visits.at(-1).heard(number));
  socket.on("told", (number) => visits.at(-1).hearTold(number));
  (socket.io.on ? socket.io : socket).on("error", (error) => errors.push(String(error)));
  socket.on("connect_error", (error) => errors.push(String(error)));
}

function connectWithSockJs(SockJS) {
  const socket = new SockJS(`${url}/sockjs`, null, { transports: wanted });
  const say = (number) => socket.readyState === SockJS.OPEN && socket.send(JSON.stringify(number));
  const take = {
    welcome: (server) => visits.push(new Visit(server, say, () => socket.transport)),
    heard: (number) => visits.at(-1).heard(number),
    told: (number) => visits.at(-1).hearTold(number),
  };
  socket.onmessage = ({ data }) => {
    const [word, value] = JSON.parse(data);
    take[word](value);
  };
  socket.onclose = ({ code, reason }) => {
    errors.push(`${code} ${reason}`);
    setTimeout(() => connectWithSockJs(SockJS), 50);
  };
}

const connect = {
  async "socket.io"() {
    const { io } = await import("socket.io-client");
    connectWithSocketIo(io, { withCredentials: Boolean(cookies) });
  },

  async "socket.io-2"() {
    const { default: io } = await import("socket.io-client-2");
    connectWithSocketIo(io, {});
  },

  async sockjs() {
    http.globalAgent = agent; // sockjs-client has no option for it
    const { default: SockJS } = await import("sockjs-client");
    connectWithSockJs(SockJS);
  },
};

await connect[library]();
for await (const _ of createInterface({ input: process.stdin })) {
  report("summary", { visits: visits.map((visit) => visit.facts), errors });
}
