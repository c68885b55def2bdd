// The client program in a page: its address says broker, scenario and version, and what it prints goes to the console.

import * as StompJs from './node_modules/@stomp/stompjs/esm6/index.js';
import { tell } from './scenarios.mjs';
import { opening } from './stompjs-client.mjs';

const [broker, scenario, version] = new URLSearchParams(location.search).getAll('argument');

/** What a page sees that may not connect: a close, and no reason. */
const knock = () => new Promise((resolve) => {
  const socket = new WebSocket(broker, ['v12.stomp']);
  socket.onopen = () => resolve({ let: 'in' });
  socket.onclose = ({ code }) => resolve({ refused: code });
});

try {
  if (scenario === 'knock') console.log(JSON.stringify(await knock()));
  else await tell(scenario, opening(StompJs, version, (protocols) => new WebSocket(broker, protocols)));
  document.title = 'done';
} catch (error) {
  document.title = `failed: ${error.stack}`;
}
