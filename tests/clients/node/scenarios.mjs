// The scenarios for any STOMP library of JavaScript, in Node or in a page: tell(scenario, open) is given a function that
// opens a connection with it.
// What they must print stands in scenarios.rs beside this directory.

const DEADLINE_MS = 30_000;

/** What has arrived and is not yet asked for, or the other way round. */
export class Inbox {
  #items = [];
  #waiting = [];
  #failure;

  put(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve(item);
    else this.#items.push(item);
  }

  fail(error) {
    this.#failure ??= error;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }

  take() {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    if (this.#failure) return Promise.reject(this.#failure);
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
const text = (message) => new TextDecoder().decode(message.body);
const hex = (octets) => Array.from(new Uint8Array(octets), (octet) => octet.toString(16).padStart(2, '0')).join('');

/**
 * `open({ clientId, heartBeatMs, login: [name, passcode] })` resolves to a client with: version, messages (an Inbox of { headers, body, … }), beats
 * (an Inbox), send(destination, body, headers, onReceipt), subscribe(destination, ack, headers), unsubscribe(headers),
 * ack(message, transaction), nack(message), begin(id), commit(id), abort(id), close(), drop().
 * What the broker says in an ERROR is the text of the error that `open` and the inboxes throw.
 */
export async function tell(scenario, open) {
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

  /** Shows the copies that have come to a queue behind a virtual topic. */
  async function showCopies(client, count) {
    for (const message of await take(client, count)) {
      say({ body: text(message), origin: message.headers['original-destination'] });
    }
  }

  const impatient = {
    'activemq.maximumRedeliveries': '2',
    'activemq.initialRedeliveryDelay': '50',
    'activemq.useExponentialBackOff': 'true',
    'activemq.backOffMultiplier': '4',
  };

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
      client.send('/queue/binary', Uint8Array.from(octets));
      client.subscribe('/queue/binary');
      say({ hex: hex((await client.messages.take()).body) });
    }),

    big: () => connected(async (client) => {
      const numbers = Array.from({ length: 1 << 20 }, (_, number) => String(number).padStart(10, '0'));
      client.send('/queue/big', new TextEncoder().encode(numbers.join('')));
      client.subscribe('/queue/big');
      const { body } = await client.messages.take();
      say({ octets: body.length, sha256: hex(await crypto.subtle.digest('SHA-256', body)) });
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

    selector: async () => {
      await connected(async (client) => {
        for (const [colour, weight] of [['red', '3'], ['red', '7'], ['blue', '9'], ['red', '9']]) {
          client.send('/queue/paint', `${colour} ${weight}`, { colour, weight });
        }
        client.subscribe('/queue/paint', 'client-individual', { selector: "colour = 'red' AND weight > 5" });
        for (let count = 0; count < 2; count++) client.ack(await show(client));
      });
      await connected(async (client) => {
        client.subscribe('/queue/paint');
        for (let count = 0; count < 2; count++) await show(client);
      });
    },

    delayed: () => connected(async (client) => {
      const begun = performance.now();
      client.send('/queue/later', 'later', { AMQ_SCHEDULED_DELAY: '300', persistent: 'true' });
      send(client, '/queue/later', 'at once');
      client.subscribe('/queue/later');
      for (let count = 0; count < 2; count++) await show(client);
      say({ waited: performance.now() - begun > 290 });
    }),

    'request-reply': () => connected((requester) => connected(async (service) => {
      requester.subscribe('/temp-queue/replies');
      requester.send('/queue/service', '6 * 7', { 'reply-to': '/temp-queue/replies', 'correlation-id': 'c-1' });
      service.subscribe('/queue/service');
      const request = await service.messages.take();
      const correlation = request.headers['correlation-id'];
      say({ request: text(request), correlation });
      service.send(request.headers['reply-to'], '42', { 'correlation-id': correlation });
      const reply = await requester.messages.take();
      say({ reply: text(reply), correlation: reply.headers['correlation-id'] });
    })),

    'virtual-topic': async () => {
      const [billing, stock] = ['billing', 'stock'].map((name) => `/queue/Consumer.${name}.VirtualTopic.orders`);
      // From now on it collects.
      await connected(async (client) => client.subscribe(billing));
      await connected(async (client) => {
        client.subscribe(stock);
        client.send('/topic/VirtualTopic.orders', 'order 1', { persistent: 'true' });
        client.send('/topic/VirtualTopic.orders', 'order 2', { persistent: 'true' });
        await showCopies(client, 2);
      });
      await connected(async (client) => {
        client.subscribe(billing);
        await showCopies(client, 2);
      });
    },

    login: async () => {
      await open({ login: ['orders', 'a guess'] }).catch((error) => say({ refused: error.message }));
      const client = await open({ login: ['orders', 'the secret of orders'] });
      send(client, '/queue/orders.new', 'allowed');
      client.subscribe('/queue/orders.new');
      await show(client);
      send(client, '/queue/billing', 'forbidden');
      await client.messages.take().catch((error) => say({ denied: error.message }));
      // Some libraries give a connection up that has met an ERROR.
      client.drop();
    },

    retry: () => connected(async (client) => {
      client.send('/queue/poison', 'bad', { persistent: 'true' });
      client.subscribe('/queue/poison', 'client-individual', impatient);
      const begun = performance.now();
      for (let count = 0; count < 2; count++) client.nack(await show(client));
      const last = await show(client);
      say({ 'backed-off': performance.now() - begun > 240 });
      client.nack(last);
      await connected(async (undertaker) => {
        undertaker.subscribe('/queue/ActiveMQ.DLQ', 'client-individual');
        const dead = await undertaker.messages.take();
        const { 'original-destination': origin, dlqDeliveryCount: failures } = dead.headers;
        say({ dead: text(dead), origin, failures });
      });
      client.ack(await show(client));
    }),
  };

  await scenarios[scenario]();
}
