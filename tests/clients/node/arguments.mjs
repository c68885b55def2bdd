// What every client program of Node is given: ADDRESS SCENARIO VERSION. An ADDRESS that begins with tls:// or wss:// is
// spoken to by TLS; FERRYMQ_CA names the authority.

import { readFileSync } from 'node:fs';

export const [address, scenario, version] = process.argv.slice(2);
const [scheme, authority] = address.includes('://') ? address.split('://') : ['', address];

export const isWebSocket = scheme.startsWith('ws');
export const isTls = scheme === 'tls' || scheme === 'wss';
export const ca = isTls ? readFileSync(process.env.FERRYMQ_CA) : undefined;
const colon = authority.lastIndexOf(':');
export const [host, port] = [authority.slice(0, colon), Number(authority.slice(colon + 1))];
