// A histogram's buckets over time. Grafana's own heat map is no part of its component library: this one is drawn on
// the library's axes, a rectangle for each bucket and moment, in the scheme that the board names.
import {
  formattedValueToString,
  getValueFormat,
  type DataFrame,
  type GrafanaTheme2,
  type TimeRange,
} from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import * as schemes from 'd3-scale-chromatic';
import { useMemo } from 'react';
import type uPlot from 'uplot';
import type { Panel } from '../board';

interface Props {
  panel: Panel;
  frames: DataFrame[];
  time: TimeRange;
  width: number;
  height: number;
}

export interface Buckets {
  /** Upper bounds, ascending. */
  bounds: number[];
  times: number[];
  /** Milliseconds between two times. */
  step: number;
  /** By bucket, then by time. */
  counts: Array<Array<number | null>>;
}

const LEGEND = 28;

export function Heat({ panel, frames, time, width, height }: Props) {
  const theme = useTheme2();
  const buckets = useMemo(() => trimmed(fromCumulative(frames)), [frames]);
  const most = Math.max(...buckets.counts.flat().map((count) => count ?? 0));
  const { unit } = panel.options.yAxis;
  const paint = useMemo(() => painter(panel.options.color, theme), [panel, theme]);
  const builder = useMemo(
    () => config(buckets, paint, most, unit, theme, time, panel.options.cellGap),
    [buckets, paint, most, unit, theme, time, panel]
  );
  return (
    <>
      <UPlotChart
        config={builder}
        data={[buckets.times, buckets.times.map(() => 0)]}
        width={width}
        height={height - LEGEND}
      />
      <Legend most={most} paint={paint} />
    </>
  );
}

// Prometheus' buckets hold what is below their bound; a heat map shows what is between two bounds.
export function fromCumulative(frames: DataFrame[]): Buckets {
  const columns = frames.map((frame) => ({
    bound: Number(frame.fields[1].labels?.le?.replace('+Inf', 'Infinity')),
    step: frame.fields[0].config.interval ?? 0,
    at: new Map<number, number | null>(frame.fields[0].values.map((time, i) => [time, frame.fields[1].values[i]])),
  }));
  columns.sort((a, b) => a.bound - b.bound);
  const times = [...new Set(columns.flatMap(({ at }) => [...at.keys()]))].sort((a, b) => a - b);
  const between = (i: number, time: number) => {
    const total = columns[i].at.get(time) ?? null;
    return total === null ? null : Math.max(0, total - (i ? (columns[i - 1].at.get(time) ?? 0) : 0));
  };
  return {
    bounds: columns.map(({ bound }) => bound),
    times,
    step: columns[0].step,
    counts: columns.map((_, i) => times.map((time) => between(i, time))),
  };
}

// Without the buckets at both ends in which nothing ever was, so that the rest has the room.
export function trimmed(buckets: Buckets): Buckets {
  const used = buckets.counts.map((row) => row.some((count) => count));
  const first = Math.max(0, used.indexOf(true) - 1);
  const past = Math.min(used.length, used.lastIndexOf(true) + 2);
  if (past <= first) {
    return buckets;
  }
  return { ...buckets, bounds: buckets.bounds.slice(first, past), counts: buckets.counts.slice(first, past) };
}

type Paint = (share: number) => string;

function painter({ scheme, reverse }: { scheme: string; reverse: boolean }, theme: GrafanaTheme2): Paint {
  const interpolate = (schemes as unknown as Record<string, Paint>)[`interpolate${scheme}`];
  // Few is close to the background, in both themes; Grafana turns its schemes so, too.
  return (share) => interpolate(theme.isDark !== reverse ? 1 - share : share);
}

function config(
  { bounds, times, step, counts }: Buckets,
  paint: Paint,
  most: number,
  unit: string,
  theme: GrafanaTheme2,
  time: TimeRange,
  gap: number
): UPlotConfigBuilder {
  const builder = new UPlotConfigBuilder('utc');
  const format = getValueFormat(unit);
  builder.addScale({
    scaleKey: 'x',
    isTime: true,
    orientation: ScaleOrientation.Horizontal,
    direction: ScaleDirection.Right,
    range: () => [time.from.valueOf(), time.to.valueOf()],
  });
  builder.addScale({
    scaleKey: 'y',
    orientation: ScaleOrientation.Vertical,
    direction: ScaleDirection.Up,
    range: () => [0, bounds.length],
  });
  builder.addAxis({ scaleKey: 'x', isTime: true, placement: AxisPlacement.Bottom, timeZone: 'utc', theme });
  builder.addAxis({
    scaleKey: 'y',
    placement: AxisPlacement.Left,
    theme,
    grid: { show: false },
    splits: bounds.map((_, i) => i + 1).slice(0, bounds[bounds.length - 1] === Infinity ? -1 : undefined),
    formatValue: (i: number) => formattedValueToString(format(bounds[i - 1])),
  });
  builder.addSeries({ scaleKey: 'y', theme, show: true, pathBuilder: () => null, pointsBuilder: () => undefined });
  builder.addHook('draw', (plot: uPlot) => {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    counts.forEach((row, bucket) => {
      const [top, bottom] = [bucket + 1, bucket].map((y) => plot.valToPos(y, 'y', true));
      row.forEach((count, i) => {
        if (count) {
          const [left, right] = [times[i] - step, times[i]].map((x) => plot.valToPos(x, 'x', true));
          ctx.fillStyle = paint(count / most);
          const [cellWidth, cellHeight] = [right - left, bottom - top].map((size) => Math.max(size - gap, 1));
          ctx.fillRect(Math.round(left), Math.round(top), Math.ceil(cellWidth), Math.ceil(cellHeight));
        }
      });
    });
    ctx.restore();
  });
  return builder;
}

function Legend({ most, paint }: { most: number; paint: Paint }) {
  const theme = useTheme2();
  const stops = Array.from({ length: 11 }, (_, i) => paint(i / 10)).join(', ');
  const format = getValueFormat('short');
  return (
    <div
      style={{
        height: LEGEND,
        display: 'flex',
        alignItems: 'center',
        gap: 8,
        paddingLeft: 8,
        color: theme.colors.text.secondary,
        fontSize: theme.typography.bodySmall.fontSize,
      }}
    >
      0
      <span style={{ width: 160, height: 9, borderRadius: 2, background: `linear-gradient(to right, ${stops})` }} />
      {formattedValueToString(format(most, most < 10 && most % 1 ? 1 : 0))}
    </div>
  );
}
