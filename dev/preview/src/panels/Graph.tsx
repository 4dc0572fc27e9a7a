// Lines over time, with the board's annotations as vertical lines.
import type { DataFrame, TimeRange } from '@grafana/data';
import { TimeSeries, useTheme2, type UPlotConfigBuilder } from '@grafana/ui';
import { useLayoutEffect } from 'react';
import uPlot from 'uplot';
import type { Panel } from '../board';
import type { Mark } from '../query';

interface Props {
  panel: Panel;
  frames: DataFrame[];
  time: TimeRange;
  marks: Mark[];
  width: number;
  height: number;
}

export function Graph({ panel, frames, time, marks, width, height }: Props) {
  return (
    <TimeSeries
      frames={frames}
      timeRange={time}
      timeZone="utc"
      legend={panel.options.legend}
      width={width}
      height={height}
      options={panel.options}
    >
      {(builder) => <Marks builder={builder} marks={marks} />}
    </TimeSeries>
  );
}

function Marks({ builder, marks }: { builder: UPlotConfigBuilder; marks: Mark[] }) {
  const theme = useTheme2();
  useLayoutEffect(() => {
    builder.addHook('draw', (plot: uPlot) => {
      for (const { time, color } of marks) {
        draw(plot, plot.valToPos(time, 'x', true), theme.visualization.getColorByName(color));
      }
    });
  }, [builder, marks, theme]);
  return null;
}

// As Grafana marks a moment: a dashed line, and a triangle below it.
function draw({ ctx, bbox }: uPlot, x: number, color: string): void {
  const bottom = bbox.top + bbox.height;
  const size = 5 * uPlot.pxRatio;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = color;
  ctx.lineWidth = 1.5 * uPlot.pxRatio;
  ctx.setLineDash([4 * uPlot.pxRatio, 4 * uPlot.pxRatio]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bottom);
  ctx.stroke();
  ctx.beginPath();
  ctx.moveTo(x, bottom);
  ctx.lineTo(x - size, bottom + size);
  ctx.lineTo(x + size, bottom + size);
  ctx.fill();
  ctx.restore();
}
