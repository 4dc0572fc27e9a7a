// A committed dashboard, as far as the page reads it.
import type { DataTransformerConfig, FieldConfigSource } from '@grafana/data';

export interface Target {
  expr: string;
  refId: string;
  format?: string;
  instant?: boolean;
  legendFormat?: string;
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  options: any;
  fieldConfig: FieldConfigSource;
  targets?: Target[];
  transformations?: DataTransformerConfig[];
}

export interface Variable {
  name: string;
  label?: string;
  type: string;
  query: string | { query: string };
  allValue?: string;
  multi?: boolean;
  includeAll?: boolean;
  hide?: number;
}

export interface Annotation {
  name: string;
  iconColor: string;
  enable: boolean;
  target?: { expr: string };
  textFormat?: string;
  useValueForTime?: boolean;
}

export interface Board {
  title: string;
  uid: string;
  panels: Panel[];
  time: { from: string; to: string };
  templating: { list: Variable[] };
  annotations: { list: Annotation[] };
  links: Array<{ title: string; icon: string }>;
}

export async function load(name: string): Promise<Board> {
  const answer = await fetch(`/dashboards/${name}.json`);
  if (!answer.ok) {
    throw new Error(`no dashboard ${name}: ${answer.status}`);
  }
  const board: Board = await answer.json();
  board.panels.forEach((panel) => panel.type !== 'row' && openBelow(panel.fieldConfig));
  return board;
}

// JSON has no -Infinity: the lowest step of thresholds is written with null, and Grafana reads it so.
function openBelow(config: FieldConfigSource): void {
  const found = [config.defaults.thresholds];
  for (const rule of config.overrides) {
    found.push(...rule.properties.filter((each) => each.id === 'thresholds').map((each) => each.value));
  }
  for (const thresholds of found) {
    thresholds?.steps.filter((step) => step.value === null).forEach((step) => (step.value = -Infinity));
  }
}
