// What stompit sees of the broker: stompit.mjs ADDRESS SCENARIO VERSION prints one JSON line per result.

import stompit from 'stompit';
import { ca, host, isTls, port, scenario, version } from './arguments.mjs';
import { Inbox, tell } from './scenarios.mjs';

async function open({ clientId, heartBeatMs = 0, login }) {
  const messages = new Inbox();
  const beats = new Inbox();
  const connectHeaders = { 'accept-version': version, 'heart-beat': `${heartBeatMs},${heartBeatMs}` };
  if (clientId) connectHeaders['client-id'] = clientId;
  if (login) [connectHeaders.login, connectHeaders.passcode] = login;
  const stomp = await new Promise((resolve, reject) => {
    const options = { host, port, connectHeaders, heartbeatDelayMargin: 2 * heartBeatMs, ...(isTls && { ssl: true, ca }) };
    stompit.connect(options, (error, client) => (error ? reject(error) : resolve(client)));
  });
  stomp.on('error', (error) => {
    messages.fail(error);
    beats.fail(error);
  });
  // stompit looks at the number of octets only and tells nobody, so look over its shoulder.
  stomp.getTransportSocket().on('data', (octets) => String(octets) === '\n' && beats.put('beat'));

  let subscription;
  const receive = (error, message) => {
    if (error) return messages.fail(error);
    const octets = [];
    message.on('data', (piece) => octets.push(piece));
    message.on('end', () => messages.put({ headers: message.headers, body: Buffer.concat(octets), message }));
  };
  const headersOf = (transaction) => (transaction ? { transaction } : {});
  return {
    version: stomp.headers.version,
    messages,
    beats,
    send(destination, body, headers = {}, onReceipt) {
      const octets = Buffer.from(body);
      const frame = stomp.send({ destination, 'content-length': octets.length, ...headers }, { onReceipt });
      frame.end(octets);
    },
    subscribe(destination, ack = 'auto', headers = {}) {
      subscription = stomp.subscribe({ destination, id: 's', ack, ...headers }, receive);
    },
    unsubscribe(headers) {
      // The library ends a subscription once; the name of a durable one goes by a frame of its own.
      if (headers) stomp.sendFrame('UNSUBSCRIBE', { id: 's', ...headers }).end();
      else subscription.unsubscribe();
    },
    ack: ({ message }, transaction) => stomp.ack(message, headersOf(transaction)),
    nack: ({ message }) => stomp.nack(message),
    begin: (id) => stomp.begin({ transaction: id }),
    commit: (id) => stomp.sendFrame('COMMIT', { transaction: id }).end(),
    abort: (id) => stomp.sendFrame('ABORT', { transaction: id }).end(),
    close: () => new Promise((resolve, reject) => {
      stomp.disconnect((error) => (error ? reject(error) : resolve()));
    }),
    drop: () => stomp.destroy(),
  };
}

await tell(scenario, open);
