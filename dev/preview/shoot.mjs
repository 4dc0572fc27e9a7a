// Builds the page, serves it on loopback, and takes pictures of boards in headless Chromium.
//
//   PROMETHEUS_URL=http://127.0.0.1:9090 node shoot.mjs '[{"file": "fleet.png", "query": {"dashboard": "fleet"}}]'
import { chromium } from 'playwright-core';
import { build, preview } from 'vite';

const WIDTH = 1280;
// Higher than any board: a table draws itself only where it can be seen.
const HEIGHT = 4000;
// Chromium gives up what it loads when an address of the machine comes or goes, as pods' addresses do.
const ATTEMPTS = 5;
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

async function shoot(browser, url, file) {
  const page = await browser.newPage({ viewport: { width: WIDTH, height: HEIGHT } });
  page.setDefaultTimeout(180_000);
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  try {
    await page.goto(url);
    await page.waitForFunction(() => document.body.dataset.drawn !== undefined);
    await page.waitForLoadState('networkidle'); // icons
    const errors = await page.evaluate(() => document.body.dataset.drawn);
    if (errors || complaints.length) {
      throw new Error(`${file}: ${errors}\n${complaints.join('\n')}`);
    }
    await page.locator('#root > *').last().screenshot({ path: file });
  } finally {
    await page.close();
  }
}

const shots = JSON.parse(process.argv[2]);
await build({ logLevel: 'warn' });
const server = await preview({ preview: { port: 0 }, logLevel: 'warn' });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: FLAGS,
});
try {
  for (const { file, query } of shots) {
    const url = `${server.resolvedUrls.local[0]}?${new URLSearchParams(query)}`;
    for (let attempt = 1; ; attempt++) {
      try {
        await shoot(browser, url, file);
        break;
      } catch (error) {
        if (attempt === ATTEMPTS || !/ERR_NETWORK_CHANGED|interrupted/.test(error.message)) {
          throw error;
        }
      }
    }
  }
} finally {
  await browser.close();
  await server.close();
}
