// A dashboard's variables: which values there are, which is chosen, and what stands for it in a query.
import type { Board, Variable } from './board';
import { labelValues } from './prometheus';

const HIDDEN = 2;

export interface Chosen {
  name: string;
  label: string;
  shown: string;
  inQuery: string;
  /** Whether it is shown to nobody. */
  hidden: boolean;
}

export async function resolve(
  board: Board,
  wanted: URLSearchParams,
  start: number,
  end: number
): Promise<Chosen[]> {
  const chosen: Chosen[] = [];
  for (const variable of board.templating.list) {
    chosen.push(await choose(variable, wanted, chosen, start, end));
  }
  return chosen;
}

async function choose(
  variable: Variable,
  wanted: URLSearchParams,
  before: Chosen[],
  start: number,
  end: number
): Promise<Chosen> {
  const { name } = variable;
  const hidden = variable.hide === HIDDEN;
  const label = variable.label || name;
  if (variable.type === 'datasource') {
    return { name, label, shown: 'Prometheus', inQuery: 'prometheus', hidden };
  }
  const given = wanted.get(`var-${name}`);
  if (variable.includeAll && !given) {
    return { name, label, shown: 'All', inQuery: variable.allValue || '.*', hidden };
  }
  const query = typeof variable.query === 'string' ? variable.query : variable.query.query;
  const found = /^label_values\((.+),\s*(\w+)\)$/s.exec(query);
  if (!found) {
    throw new Error(`variable ${name} is no query of label values: ${query}`);
  }
  const values = await labelValues(found[2], substitute(found[1], before, {}), start, end);
  const value = given ?? values.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))[0];
  if (value === undefined || !values.includes(value)) {
    throw new Error(`variable ${name} has no value ${value ?? ''}; there are: ${values.join(', ')}`);
  }
  return { name, label, shown: value, inQuery: value, hidden };
}

// `$name` and `${name}` in a query; `builtIn` are Grafana's own, such as __rate_interval.
export function substitute(text: string, chosen: Chosen[], builtIn: Record<string, string>): string {
  const values = new Map([
    ...chosen.map((each): [string, string] => [each.name, each.inQuery]),
    ...Object.entries(builtIn),
  ]);
  return text.replace(/\$(?:(\w+)|\{(\w+)(?::\w+)?\})/g, (all, bare, braced) => values.get(bare ?? braced) ?? all);
}
