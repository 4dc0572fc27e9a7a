// What a panel shows: its queries over the board's time, with the steps that Grafana would choose.
import { dateTime, rangeUtil, type DataFrame, type TimeRange } from '@grafana/data';
import type { Annotation, Panel } from './board';
import * as frames from './frames';
import { instant, range } from './prometheus';
import { substitute, type Chosen } from './variables';

export interface Scope {
  time: TimeRange;
  chosen: Chosen[];
  /** Seconds between two scrapes, as the data source is told. */
  scrape: number;
}

export interface Mark {
  time: number;
  text: string;
  color: string;
}

export function timeRange(raw: { from: string; to: string }, now: number): TimeRange {
  const parse = (text: string) => {
    const found = /^now(?:-(\w+))?$/.exec(text);
    if (!found) {
      throw new Error(`not a time that the preview knows: ${text}`);
    }
    return dateTime(now - (found[1] ? rangeUtil.intervalToMs(found[1]) : 0));
  };
  return { from: parse(raw.from), to: parse(raw.to), raw };
}

const seconds = ({ time }: Scope) => [time.from.valueOf() / 1000, time.to.valueOf() / 1000];

function interpolated(expr: string, scope: Scope, step: number): string {
  const [from, to] = seconds(scope);
  return substitute(expr, scope.chosen, {
    __interval: `${step}s`,
    __rate_interval: `${Math.max(step + scope.scrape, 4 * scope.scrape)}s`,
    __range: `${Math.round(to - from)}s`,
    __range_s: `${Math.round(to - from)}`,
  });
}

export async function answers(panel: Panel, scope: Scope, points: number): Promise<DataFrame[]> {
  const [from, to] = seconds(scope);
  const step = rangeUtil.calculateInterval(scope.time, points, `${scope.scrape}s`).intervalMs / 1000;
  const targets = panel.targets ?? [];
  const found = targets.map(async (target) => {
    const expr = interpolated(target.expr, scope, step);
    if (!target.instant) {
      return frames.lines(target, await range(expr, from, to, step), step);
    }
    const rows = await instant(expr, to);
    return target.format === 'table' ? frames.table(target, rows, targets.length) : frames.rows(target, rows);
  });
  return (await Promise.all(found)).flat();
}

// Only annotations whose series' value is the time: the boards have no others.
export async function marks(annotations: Annotation[], scope: Scope): Promise<Mark[]> {
  const [from, to] = seconds(scope);
  const step = rangeUtil.calculateInterval(scope.time, 100, `${scope.scrape}s`).intervalMs / 1000;
  const found = annotations.filter((each) => each.enable && each.target && each.useValueForTime).map(async (each) => {
    const series = await range(interpolated(each.target!.expr, scope, step), from, to, step);
    return series.flatMap(({ metric, values }) => {
      const times = new Set(values.map(([, value]) => Number(value)));
      const text = frames.legend(each.textFormat, metric);
      return [...times].map((time) => ({ time, text, color: each.iconColor }));
    });
  });
  const within = (mark: Mark) => mark.time >= from * 1000 && mark.time <= to * 1000;
  return (await Promise.all(found)).flat().filter(within);
}
