// Prometheus' HTTP API, asked as Grafana's data source asks it.
export type Labels = Record<string, string>;
export interface Row {
  metric: Labels;
  value: [number, string];
}
export interface Line {
  metric: Labels;
  values: Array<[number, string]>;
}

async function ask<T>(path: string, parameters: Record<string, string>): Promise<T> {
  const answer = await fetch(`/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) });
  const body = await answer.json();
  if (body.status !== 'success') {
    throw new Error(body.error ?? `Prometheus answers ${answer.status}`);
  }
  return body.data;
}

export async function instant(query: string, time: number): Promise<Row[]> {
  return (await ask<{ result: Row[] }>('query', { query, time: String(time) })).result;
}

export async function range(query: string, start: number, end: number, step: number): Promise<Line[]> {
  // Grafana begins at a multiple of the step, so that a line does not tremble from one refresh to the next.
  const [from, to] = [start, end].map((time) => String(Math.floor(time / step) * step));
  return (await ask<{ result: Line[] }>('query_range', { query, start: from, end: to, step: String(step) })).result;
}

export async function labelValues(label: string, match: string, start: number, end: number): Promise<string[]> {
  const query = new URLSearchParams({ 'match[]': match, start: String(start), end: String(end) });
  const answer = await fetch(`/api/v1/label/${label}/values?${query}`);
  return (await answer.json()).data ?? [];
}
