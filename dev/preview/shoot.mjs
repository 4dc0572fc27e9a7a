// Builds the page, serves it on loopback, and takes pictures of boards in headless Chromium.
//
//   PROMETHEUS_URL=http://127.0.0.1:9090 node shoot.mjs '[{"file": "fleet.png", "query": {"dashboard": "fleet"}}]'
import { chromium } from 'playwright-core';
import { build, preview } from 'vite';

const WIDTH = 1280;
// Higher than any board: a table draws itself only where it can be seen.
const HEIGHT = 4000;
const FLAGS =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';

const shots = JSON.parse(process.argv[2]);
await build({ logLevel: 'warn' });
const server = await preview({ preview: { port: 0 }, logLevel: 'warn' });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: FLAGS.split(' '),
});
try {
  for (const { file, query } of shots) {
    const page = await browser.newPage({ viewport: { width: WIDTH, height: HEIGHT } });
    page.setDefaultTimeout(180_000);
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    await page.goto(`${server.resolvedUrls.local[0]}?${new URLSearchParams(query)}`);
    await page.waitForFunction(() => document.body.dataset.drawn !== undefined);
    const errors = await page.evaluate(() => document.body.dataset.drawn);
    if (errors) {
      throw new Error(`${file}: ${errors}\n${complaints.join('\n')}`);
    }
    await page.waitForLoadState('networkidle'); // icons
    await page.locator('#root > *').last().screenshot({ path: file });
    complaints.forEach((text) => console.error(`${file}: ${text}`));
    await page.close();
  }
} finally {
  await browser.close();
  await server.close();
}
