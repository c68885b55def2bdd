// Runs page.mjs, or the page of examples/browser, in Chromium: chromium.mjs ADDRESS SCENARIO VERSION prints one JSON line
// per result. FERRYMQ_PAGES says where the pages are served, CHROMIUM which browser it is.

import { chromium } from 'playwright-core';

const DEADLINE_MS = 60_000;
const pages = process.env.FERRYMQ_PAGES;
const [address, scenario] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  // In a container it runs as root, and what it wants to look up elsewhere is out of reach. Certificates are those of
  // the tests.
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--ignore-certificate-errors',
  ],
});

async function tell() {
  const page = await browser.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  page.on('console', (message) => {
    const print = message.type() === 'log' ? console.log : console.error;
    print(message.text());
  });
  const query = new URLSearchParams(process.argv.slice(2).map((argument) => ['argument', argument]));
  await page.goto(`${pages}/page.html?${query}`);
  await page.waitForFunction(() => document.title !== 'running');
  const title = await page.title();
  if (title !== 'done') throw new Error(title);
}

/** Two people in the example's chat. */
async function chat() {
  const complaints = [];
  const enter = async () => {
    const page = await browser.newPage();
    page.setDefaultTimeout(DEADLINE_MS);
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => complaints.push(message.text()));
    await page.goto(`${pages}/example/index.html`);
    await page.fill('#url', address);
    await page.click('#connection button');
    await page.waitForFunction(() => document.getElementById('state').textContent.startsWith('connected'));
    return page;
  };
  const [anna, ben] = [await enter(), await enter()];
  console.log(JSON.stringify({ state: await ben.textContent('#state') }));
  await anna.fill('#text', 'Hello <b>Ben</b> 😀');
  await anna.click('#send');
  for (const page of [anna, ben]) {
    console.log(JSON.stringify({ shown: await page.textContent('#messages li') }));
  }
  if (complaints.length > 0) throw new Error(complaints.join('\n'));
}

try {
  await (scenario === 'chat' ? chat() : tell());
} finally {
  await browser.close();
}
