// A table.
import type { DataFrame } from '@grafana/data';
import { TableNG } from '@grafana/ui/unstable';
import type { Panel } from '../board';

export function Listing(props: { panel: Panel; frames: DataFrame[]; width: number; height: number }) {
  const { panel, frames, width, height } = props;
  const { options, fieldConfig } = panel;
  return (
    <TableNG
      data={frames[options.frameIndex ?? 0]}
      width={width}
      height={height}
      noHeader={!options.showHeader}
      showTypeIcons={options.showTypeIcons}
      sortBy={options.sortBy ?? []}
      cellHeight={options.cellHeight}
      fieldConfig={fieldConfig}
      resizable
      enableVirtualization={false}
    />
  );
}
