// A panel in its frame.
import { type DataFrame, type TimeRange } from '@grafana/data';
import { PanelChrome, useTheme2 } from '@grafana/ui';
import { useEffect, useState } from 'react';
import type { Panel } from './board';
import { prepared } from './fields';
import { Figure } from './panels/Figure';
import { Graph } from './panels/Graph';
import { Heat } from './panels/Heat';
import { Listing } from './panels/Listing';
import { answers, type Mark, type Scope } from './query';

interface Props {
  panel: Panel;
  scope: Scope;
  marks: Mark[];
  width: number;
  height: number;
  /** Told once, when the data is there or why it is not. */
  onDone: (error?: string) => void;
}

export function PanelView({ panel, scope, marks, width, height, onDone }: Props) {
  const theme = useTheme2();
  const [frames, setFrames] = useState<DataFrame[]>();
  useEffect(() => {
    answers(panel, scope, width)
      .then((found) => prepared(panel, found, theme))
      .then((found) => {
        setFrames(found);
        onDone();
      })
      .catch((error: Error) => onDone(`${panel.title}: ${error.message}`));
    // Once: nothing that it depends on ever changes.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);
  const padding = panel.type === 'table' ? 'none' : 'md';
  return (
    <PanelChrome title={panel.title} description={panel.description} width={width} height={height} padding={padding}>
      {(innerWidth, innerHeight) =>
        frames && (
          <Content
            panel={panel}
            frames={frames}
            time={scope.time}
            marks={marks}
            width={innerWidth}
            height={innerHeight}
          />
        )
      }
    </PanelChrome>
  );
}

interface ContentProps {
  panel: Panel;
  frames: DataFrame[];
  time: TimeRange;
  marks: Mark[];
  width: number;
  height: number;
}

function Content(props: ContentProps) {
  const { panel, frames } = props;
  if (panel.type === 'stat') {
    return <Figure {...props} />; // says itself that there is nothing
  }
  if (!frames.some((frame) => frame.length)) {
    return <Nothing text={panel.fieldConfig.defaults.noValue ?? 'No data'} />;
  }
  switch (panel.type) {
    case 'timeseries':
      return <Graph {...props} />;
    case 'table':
      return <Listing {...props} />;
    case 'heatmap':
      return <Heat {...props} />;
    default:
      throw new Error(`the preview draws no ${panel.type}`);
  }
}

function Nothing({ text }: { text: string }) {
  const theme = useTheme2();
  return (
    <div style={{ height: '100%', display: 'grid', placeItems: 'center', color: theme.colors.text.secondary }}>
      {text}
    </div>
  );
}
