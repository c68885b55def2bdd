// The scenarios for any STOMP library of Node: tell(open) is given a function that opens a connection with it.
// What they must print stands in scenarios.rs beside this directory.

import { createHash } from 'node:crypto';

export const [address, scenario, version] = process.argv.slice(2);
export const [host, port] = [address.slice(0, address.lastIndexOf(':')), Number(address.split(':').at(-1))];

const DEADLINE_MS = 30_000;

/** What has arrived and is not yet asked for, or the other way round. */
export class Inbox {
  #items = [];
  #waiting = [];

  put(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve(item);
    else this.#items.push(item);
  }

  fail(error) {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }

  take() {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('nothing came')), DEADLINE_MS);
      const done = (end) => (value) => {
        clearTimeout(timer);
        end(value);
      };
      this.#waiting.push({ resolve: done(resolve), reject: done(reject) });
    });
  }
}

const say = (result) => console.log(JSON.stringify(result));
const text = (message) => Buffer.from(message.body).toString('utf8');

/**
 * `open({ clientId, heartBeatMs })` resolves to a client with: version, messages (an Inbox of { headers, body, … }), beats
 * (an Inbox), send(destination, body, headers, onReceipt), subscribe(destination, ack, headers), unsubscribe(headers),
 * ack(message, transaction), nack(message), begin(id), commit(id), abort(id), close().
 */
export async function tell(open) {
  async function connected(work, options = {}) {
    const client = await open(options);
    await work(client);
    await client.close();
  }

  async function show(client) {
    const message = await client.messages.take();
    const { redelivered, JMSXDeliveryCount: count } = message.headers;
    say({ body: text(message), redelivered: redelivered === 'true', count });
    return message;
  }

  async function take(client, count) {
    const messages = [];
    while (messages.length < count) messages.push(await client.messages.take());
    return messages;
  }

  function send(client, destination, ...bodies) {
    for (const body of bodies) client.send(destination, body);
  }

  /** Shows that nothing is left: what is sent now comes first. */
  const showLast = (destination) => connected(async (client) => {
    send(client, destination, 'last');
    client.subscribe(destination);
    await show(client);
  });

  const durable = { 'activemq.subscriptionName': 'news' };

  const scenarios = {
    connect: () => connected(async (client) => {
      say({ version: client.version });
      send(client, '/queue/connect', 'hello');
      client.subscribe('/queue/connect');
      await show(client);
    }),

    'ack-auto': async () => {
      await connected(async (client) => {
        send(client, '/queue/auto', '1', '2', '3');
        client.subscribe('/queue/auto');
        for (let count = 0; count < 3; count++) await show(client);
      });
      await showLast('/queue/auto');
    },

    'ack-client': async () => {
      await connected(async (client) => {
        send(client, '/queue/client', '1', '2', '3', '4', '5');
        client.subscribe('/queue/client', 'client');
        client.ack((await take(client, 5))[2]);
      });
      await connected(async (client) => {
        client.subscribe('/queue/client', 'client');
        await show(client);
        client.ack(await show(client));
      });
      await showLast('/queue/client');
    },

    'ack-individual': async () => {
      await connected(async (client) => {
        send(client, '/queue/individual', '1', '2', '3', '4');
        client.subscribe('/queue/individual', 'client-individual');
        const messages = await take(client, 4);
        client.ack(messages[1]);
        client.ack(messages[3]);
      });
      await connected(async (client) => {
        client.subscribe('/queue/individual', 'client-individual');
        client.ack(await show(client));
        client.ack(await show(client));
      });
      await showLast('/queue/individual');
    },

    nack: async () => {
      await connected(async (client) => {
        send(client, '/queue/nack', 'bad', 'good');
        client.subscribe('/queue/nack', 'client-individual');
        client.nack(await show(client));
        client.ack(await show(client));
        client.ack(await show(client));
      });
      await showLast('/queue/nack');
    },

    commit: async () => {
      await connected(async (client) => {
        client.begin('t1');
        client.send('/queue/commit', '1', { transaction: 't1' });
        client.send('/queue/commit', '2', { transaction: 't1' });
        send(client, '/queue/commit', 'outside');
        client.subscribe('/queue/commit', 'client-individual');
        const messages = [await show(client)];
        client.commit('t1');
        messages.push(await show(client), await show(client));
        client.begin('t2');
        for (const message of messages) client.ack(message, 't2');
        client.commit('t2');
      });
      await showLast('/queue/commit');
    },

    abort: async () => {
      await connected(async (client) => {
        send(client, '/queue/abort', 'kept');
        client.subscribe('/queue/abort', 'client-individual');
        client.begin('t');
        client.send('/queue/abort', 'dropped', { transaction: 't' });
        client.ack(await show(client), 't');
        client.abort('t');
      });
      await connected(async (client) => {
        client.subscribe('/queue/abort', 'client-individual');
        client.ack(await show(client));
      });
      await showLast('/queue/abort');
    },

    durable: async () => {
      await connected(async (client) => {
        client.subscribe('/topic/news', 'client-individual', durable);
        send(client, '/topic/news', 'online');
        client.ack(await show(client));
      }, { clientId: 'durable' });
      await connected(async (other) => {
        other.send('/topic/news', 'offline 1', { persistent: 'true' });
        other.send('/topic/news', 'offline 2', { persistent: 'true' });
      });
      await connected(async (client) => {
        client.subscribe('/topic/news', 'client-individual', durable);
        client.ack(await show(client));
        client.ack(await show(client));
      }, { clientId: 'durable' });
    },

    'durable-removed': async () => {
      await connected(async (client) => {
        client.subscribe('/topic/old', 'auto', durable);
        client.unsubscribe();
        client.unsubscribe(durable);
        client.send('/topic/old', 'unheard', { persistent: 'true' });
      }, { clientId: 'durable' });
      await connected(async (client) => {
        client.subscribe('/topic/old', 'auto', durable);
        send(client, '/topic/old', 'heard');
        await show(client);
      }, { clientId: 'durable' });
    },

    'heart-beats': () => connected(async (client) => {
      for (let count = 0; count < 5; count++) await client.beats.take();
      say({ beats: 5 });
      send(client, '/queue/beats', 'still here');
      client.subscribe('/queue/beats');
      await show(client);
    }, { heartBeatMs: 300 }),

    utf8: () => connected(async (client) => {
      client.send('/queue/utf8', 'тело 𝄞 😀 本文', { 'заголовок-𝄞': 'значение 😀 値' });
      client.subscribe('/queue/utf8');
      const message = await client.messages.take();
      say({ header: message.headers['заголовок-𝄞'], body: text(message) });
    }),

    escapes: () => connected(async (client) => {
      client.send('/queue/escapes', 'body', { note: 'a colon: back\\slash\nline' });
      client.subscribe('/queue/escapes');
      say({ header: (await client.messages.take()).headers.note });
    }),

    binary: () => connected(async (client) => {
      const octets = [...Array(256).keys(), 0, 0];
      client.send('/queue/binary', Buffer.from(octets));
      client.subscribe('/queue/binary');
      say({ hex: Buffer.from((await client.messages.take()).body).toString('hex') });
    }),

    big: () => connected(async (client) => {
      const numbers = Array.from({ length: 1 << 20 }, (_, number) => String(number).padStart(10, '0'));
      client.send('/queue/big', Buffer.from(numbers.join('')));
      client.subscribe('/queue/big');
      const { body } = await client.messages.take();
      say({ octets: body.length, sha256: createHash('sha256').update(body).digest('hex') });
    }),

    receipts: () => connected(async (client) => {
      const came = new Inbox();
      for (let number = 0; number < 100; number++) {
        client.send('/queue/receipts', String(number), { persistent: 'true' }, () => came.put(number));
      }
      const receipts = [];
      while (receipts.length < 100) receipts.push(await came.take());
      say({ receipts });
      client.subscribe('/queue/receipts');
      say({ bodies: (await take(client, 100)).map(text) });
    }),
  };

  await scenarios[scenario]();
}
