// The page, with three paths that it reads: the committed dashboards, Grafana's icons, and Prometheus (PROMETHEUS_URL).
import { createReadStream, existsSync } from 'node:fs';
import { join, normalize } from 'node:path';
import react from '@vitejs/plugin-react';
import { defineConfig, type Connect, type Plugin } from 'vite';

const DASHBOARDS = process.env.DASHBOARDS ?? join(import.meta.dirname, '../../charts/trainserve/dashboards');
const ICONS = join(import.meta.dirname, 'node_modules/@grafana/ui/dist/public/img');
const TYPES: Record<string, string> = { '.svg': 'image/svg+xml', '.json': 'application/json' };

const serve = (folder: string): Connect.NextHandleFunction => (request, response, next) => {
  const path = join(folder, normalize(new URL(request.url ?? '/', 'http://any').pathname));
  if (!existsSync(path)) {
    return next();
  }
  response.setHeader('Content-Type', TYPES[path.slice(path.lastIndexOf('.'))] ?? 'text/plain');
  createReadStream(path).pipe(response);
};

const files = (server: { middlewares: Connect.Server }): void => {
  server.middlewares.use('/dashboards', serve(DASHBOARDS));
  server.middlewares.use('/public/build/img', serve(ICONS));
};
const readable: Plugin = { name: 'readable', configureServer: files, configurePreviewServer: files };
const proxy = { '/api': process.env.PROMETHEUS_URL ?? 'http://127.0.0.1:9090' };

export default defineConfig({
  plugins: [react(), readable],
  server: { host: '127.0.0.1', proxy },
  preview: { host: '127.0.0.1', proxy },
  build: { chunkSizeWarningLimit: 10_000 },
});
