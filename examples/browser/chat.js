// Connects by @stomp/stompjs, subscribes to a topic, and shows what comes. Reconnects by itself.
'use strict';

const byId = (id) => document.getElementById(id);
const show = (state, isConnected) => {
  byId('state').textContent = state;
  byId('send').disabled = !isConnected;
};

const client = new StompJs.Client({
  reconnectDelay: 2000,
  heartbeatIncoming: 10000,
  heartbeatOutgoing: 10000,
  onConnect: () => {
    show(`connected, STOMP ${client.connectedVersion}`, true);
    client.subscribe('/topic/chat', (message) => {
      const item = document.createElement('li');
      // textContent, never innerHTML: a message is somebody else's text.
      item.textContent = message.body;
      byId('messages').append(item);
    });
  },
  onStompError: (frame) => show(`refused: ${frame.headers.message}`, false),
  onWebSocketClose: (event) => show(`closed (${event.code}) ${event.reason}`, false),
});

byId('connection').addEventListener('submit', async (event) => {
  event.preventDefault();
  await client.deactivate();
  client.brokerURL = byId('url').value;
  client.activate();
});

byId('message').addEventListener('submit', (event) => {
  event.preventDefault();
  client.publish({ destination: '/topic/chat', body: byId('text').value });
  byId('text').value = '';
});
