// node http-proxy, as its manual sets it up for websockets.
// node node_proxy.mjs PORT TLS_PORT UPSTREAM_PORT PEM_FILE
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import httpProxy from 'http-proxy';

const [port, tlsPort, upstreamPort, file] = process.argv.slice(2);
const proxy = httpProxy.createProxyServer({
  target: { host: '127.0.0.1', port: Number(upstreamPort) },
  ws: true,
});
proxy.on('error', () => {}); // a load that ends in mid-message is no fault

const pem = readFileSync(file);
for (const [server, where] of [
  [http.createServer(), port],
  [https.createServer({ cert: pem, key: pem }), tlsPort],
]) {
  server.on('request', (request, response) => proxy.web(request, response));
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', () => {});
    proxy.ws(request, socket, head);
  });
  server.listen(Number(where), '127.0.0.1', 1024);
}
