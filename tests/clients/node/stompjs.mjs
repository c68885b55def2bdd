// What @stomp/stompjs sees of the broker over TCP, or over WebSocket if ADDRESS begins with ws://: stompjs.mjs ADDRESS
// SCENARIO VERSION prints one JSON line per result.

import net from 'node:net';
import { Client, Versions } from '@stomp/stompjs';
import { WebSocket } from 'ws';
import { Inbox, address, host, port, tell, version } from './scenarios.mjs';

/** The WebSocket that the library wants, over plain TCP: octets have no message bounds, and need none. */
class TcpSocket {
  static #STATES = { opening: 0, open: 1, readOnly: 2, writeOnly: 2, closed: 3 };
  #socket = net.connect({ host, port });
  url = `tcp://${host}:${port}`;
  binaryType = 'arraybuffer';

  constructor() {
    this.#socket.setNoDelay(true);
    this.#socket.on('connect', () => this.onopen?.({}));
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

const isWebSocket = address.startsWith('ws://');
const versions = new Versions([version]);

async function open({ clientId, heartBeatMs = 0 }) {
  const messages = new Inbox();
  const beats = new Inbox();
  let receipts = 0;
  let closing = false;
  const stomp = await new Promise((resolve, reject) => {
    const fail = (error) => {
      reject(error);
      messages.fail(error);
      beats.fail(error);
    };
    const stomp = new Client({
      webSocketFactory: () => (isWebSocket ? new WebSocket(address, versions.protocolVersions()) : new TcpSocket()),
      stompVersions: versions,
      connectHeaders: clientId ? { 'client-id': clientId } : {},
      heartbeatOutgoing: heartBeatMs,
      heartbeatIncoming: heartBeatMs,
      heartbeatToleranceMultiplier: 3,
      reconnectDelay: 0,
      onConnect: () => resolve(stomp),
      onStompError: (frame) => fail(new Error(`ERROR ${frame.headers.message} ${frame.body}`)),
      onHeartbeatReceived: () => beats.put('beat'),
      onWebSocketClose: () => closing || fail(new Error('the connection is gone')),
    });
    stomp.activate();
  });
  const receive = (frame) => messages.put({ headers: frame.headers, body: frame.binaryBody, frame });
  return {
    version: stomp.connectedVersion,
    messages,
    beats,
    send(destination, body, headers = {}, onReceipt) {
      if (onReceipt) {
        headers = { ...headers, receipt: `r-${receipts++}` };
        stomp.watchForReceipt(headers.receipt, onReceipt);
      }
      const content = typeof body === 'string' ? { body } : { binaryBody: body };
      stomp.publish({ destination, headers, ...content });
    },
    subscribe(destination, ack = 'auto', headers = {}) {
      stomp.subscribe(destination, receive, { id: 's', ack, ...headers });
    },
    unsubscribe: (headers = {}) => stomp.unsubscribe('s', headers),
    ack: ({ frame }, transaction) => frame.ack(transaction ? { transaction } : {}),
    nack: ({ frame }) => frame.nack(),
    begin: (id) => stomp.begin(id),
    commit: (id) => stomp.commit(id),
    abort: (id) => stomp.abort(id),
    close() {
      closing = true;
      return stomp.deactivate();
    },
  };
}

await tell(open);
