// What @stomp/stompjs sees of the broker over TCP, TLS, or WebSocket (ADDRESS begins with ws:// or wss://): stompjs.mjs
// ADDRESS SCENARIO VERSION prints one JSON line per result.

import net from 'node:net';
import tls from 'node:tls';
import * as StompJs from '@stomp/stompjs';
import { WebSocket } from 'ws';
import { address, ca, host, isTls, isWebSocket, port, scenario, version } from './arguments.mjs';
import { tell } from './scenarios.mjs';
import { opening } from './stompjs-client.mjs';

/** The WebSocket that the library wants, over TCP or TLS: octets have no message bounds, and need none. */
class TcpSocket {
  static #STATES = { opening: 0, open: 1, readOnly: 2, writeOnly: 2, closed: 3 };
  #socket = isTls ? tls.connect({ host, port, ca }) : net.connect({ host, port });
  url = `tcp://${host}:${port}`;
  binaryType = 'arraybuffer';

  constructor() {
    this.#socket.setNoDelay(true);
    this.#socket.on(isTls ? 'secureConnect' : 'connect', () => this.onopen?.({}));
    this.#socket.on('data', (octets) => {
      const own = octets.buffer.slice(octets.byteOffset, octets.byteOffset + octets.byteLength);
      this.onmessage?.({ data: own });
    });
    this.#socket.on('error', (error) => this.onerror?.({ error }));
    this.#socket.on('close', (unclean) => this.onclose?.({ wasClean: !unclean, code: unclean ? 1006 : 1000 }));
  }

  get readyState() {
    return TcpSocket.#STATES[this.#socket.readyState];
  }

  send(data) {
    this.#socket.write(typeof data === 'string' ? data : new Uint8Array(data));
  }

  close() {
    this.#socket.end();
  }

  terminate() {
    this.#socket.destroy();
  }
}

const socket = (protocols) => (isWebSocket ? new WebSocket(address, protocols, { ca }) : new TcpSocket());

await tell(scenario, opening(StompJs, version, socket));
