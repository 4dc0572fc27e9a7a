// ?dashboard=fleet&theme=dark&scrape=5&now=<ms>&range=now-15m&var-namespace=default: one board, as wide as the window.
// `document.body.dataset.drawn` is set when every panel is there: empty, or to what went wrong.
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import { createTheme, ThemeContext } from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { GlobalStyles } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
import { BoardView } from './BoardView';
import { load } from './board';
import { marks, timeRange, type Scope } from './query';
import { resolve } from './variables';

async function main(): Promise<void> {
  const asked = new URLSearchParams(location.search);
  Object.assign(window, { __grafana_public_path__: '/public/' });
  await initPluginTranslations('trainserve');
  const board = await load(asked.get('dashboard') ?? 'fleet');
  const raw = { ...board.time, ...(asked.get('range') ? { from: asked.get('range')! } : {}) };
  const time = timeRange(raw, Number(asked.get('now') ?? Date.now()));
  const [from, to] = [time.from, time.to].map((each) => each.valueOf() / 1000);
  const chosen = await resolve(board, asked, from, to);
  const scope: Scope = { time, chosen, scrape: Number(asked.get('scrape') ?? 15) };
  const marked = await marks(board.annotations.list, scope);
  const theme = createTheme({ colors: { mode: asked.get('theme') === 'dark' ? 'dark' : 'light' } });
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <BoardView board={board} scope={scope} marks={marked} width={window.innerWidth} onDone={drawn} />
    </ThemeContext.Provider>
  );
}

function drawn(errors: string[]): void {
  // Two frames later everything that was set has been painted.
  requestAnimationFrame(() => requestAnimationFrame(() => (document.body.dataset.drawn = errors.join('\n'))));
}

main().catch((error: Error) => drawn([error.stack ?? String(error)]));
