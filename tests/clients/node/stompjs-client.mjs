// A connection by @stomp/stompjs, for scenarios.mjs, in Node and in a page.

import { Inbox } from './scenarios.mjs';

/** How connections are opened in that version of STOMP; `socket(protocols)` makes what the library takes for a WebSocket. */
export const opening = (StompJs, version, socket) => async ({ clientId, heartBeatMs = 0, login }) => {
  const versions = new StompJs.Versions([version]);
  const connectHeaders = {};
  if (clientId) connectHeaders['client-id'] = clientId;
  if (login) [connectHeaders.login, connectHeaders.passcode] = login;
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
    const stomp = new StompJs.Client({
      webSocketFactory: () => socket(versions.protocolVersions()),
      stompVersions: versions,
      connectHeaders,
      heartbeatOutgoing: heartBeatMs,
      heartbeatIncoming: heartBeatMs,
      heartbeatToleranceMultiplier: 3,
      reconnectDelay: 0,
      onConnect: () => resolve(stomp),
      onStompError: (frame) => fail(new Error(frame.headers.message)),
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
    drop() {
      closing = true;
      stomp.deactivate({ force: true });
    },
  };
};
