// A plain upstream made with node's http: see test_http_peers.py.  Argument: a folder with files.

import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const folder = process.argv[2];

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://any");
  response.setHeader("X-Method", request.method);
  response.setHeader("X-Target", request.url);
  if (url.pathname === "/early") {
    response.writeHead(413).end("too much");
  } else if (url.pathname.startsWith("/files/")) {
    createReadStream(join(folder, url.pathname.slice("/files/".length))).pipe(response);
  } else if (url.searchParams.has("whole")) {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", () => {
      const body = Buffer.concat(pieces);
      response.setHeader("Content-Length", body.length);
      response.end(body);
    });
  } else {
    request.pipe(response);
  }
});

server.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ event: "listening", port: server.address().port }));
});
