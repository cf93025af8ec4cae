// Asks by node's fetch, or by node's http with an agent that keeps its connections.  Arguments:
// `fetch` or `agent`, and the URL.  Each line of standard input is a request: method, path, body
// (base64 or null), chunked, headers; each gets a line with its number, status, headers and body
// (base64).  A line with `count` and `connections` asks /echo?id=N so often, and reports what was
// wrong.

import http from "node:http";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";

const [, , how, url] = process.argv;
const report = (event, facts) => console.log(JSON.stringify({ event, ...facts }));
let agent = new http.Agent({ keepAlive: true });

async function byFetch({ method, path, body, chunked, headers }) {
  const data = body === null ? undefined : Buffer.from(body, "base64");
  const sent = chunked ? { body: Readable.toWeb(Readable.from(pieces(data))), duplex: "half" } : { body: data };
  const response = await fetch(url + path, { method, headers, ...sent });
  const got = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: [...response.headers], body: got };
}

function byAgent({ method, path, body, chunked, headers }) {
  return new Promise((resolve, reject) => {
    const request = http.request(url + path, { method, headers, agent }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode, headers: Object.entries(response.headers), body: Buffer.concat(parts) }),
      );
    });
    request.on("error", reject);
    const data = body === null ? Buffer.alloc(0) : Buffer.from(body, "base64");
    if (chunked) {
      for (const piece of pieces(data)) request.write(piece);
    } else if (body !== null) {
      request.setHeader("Content-Length", data.length);
      request.write(data);
    }
    request.end();
  });
}

function* pieces(data) {
  for (let at = 0; at < data.length; at += 10_000) yield data.subarray(at, at + 10_000);
}

const ask = how === "fetch" ? byFetch : byAgent;

async function askOften({ count, connections, method }) {
  agent = new http.Agent({ keepAlive: true, maxSockets: connections });
  const wrong = [];
  let next = 0;
  const one = async () => {
    while (next < count) {
      const id = String((next += 1));
      const body = method === "GET" ? null : Buffer.from(id).toString("base64");
      const answer = await ask({ method, path: `/echo?whole&id=${id}`, body, headers: {} });
      const headers = new Map(answer.headers);
      const expected = method === "GET" ? "" : id;
      const right = headers.get("x-target") === `/echo?whole&id=${id}` && answer.body.toString() === expected;
      if (answer.status !== 200 || !right) wrong.push([id, answer.status, answer.body.toString()]);
    }
  };
  await Promise.all(Array.from({ length: connections }, one));
  report("done", { wrong });
}

const lines = createInterface({ input: process.stdin });
let number = 0;
let before = Promise.resolve();
lines.on("line", (line) => {
  const order = JSON.parse(line);
  const mine = number++;
  before = before.then(async () => {
    if (order.count) return askOften(order);
    const { status, headers, body } = await ask(order);
    report("answer", { number: mine, status, headers, body: body.toString("base64") });
  });
});
report("ready", {});
