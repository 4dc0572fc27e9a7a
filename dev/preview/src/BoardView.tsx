// A whole board: its head, its rows, its panels, at their places.
import { rangeUtil } from '@grafana/data';
import { Icon, useTheme2, type IconName } from '@grafana/ui';
import { useCallback, useState } from 'react';
import type { Board, Panel } from './board';
import { PanelView } from './PanelView';
import type { Mark, Scope } from './query';

// Grafana's grid.
const COLUMNS = 24;
const CELL = 30;
const GAP = 8;
const MARGIN = 16;

interface Props {
  board: Board;
  scope: Scope;
  marks: Mark[];
  width: number;
  onDone: (errors: string[]) => void;
}

export function BoardView({ board, scope, marks, width, onDone }: Props) {
  const theme = useTheme2();
  const panels = board.panels.filter((panel) => panel.type !== 'row');
  const [done] = useState({ panels: 0, errors: [] as string[] });
  const one = useCallback(
    (error?: string) => {
      done.panels += 1;
      done.errors.push(...(error ? [error] : []));
      if (done.panels === panels.length) {
        onDone(done.errors);
      }
    },
    // eslint-disable-next-line react-hooks/exhaustive-deps
    []
  );
  const inner = width - 2 * MARGIN;
  const bottom = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h));
  return (
    <div style={{ width, padding: MARGIN, boxSizing: 'border-box', background: theme.colors.background.canvas }}>
      <Head board={board} scope={scope} />
      <div style={{ position: 'relative', height: bottom * (CELL + GAP) - GAP }}>
        {board.panels.map((panel) => {
          const place = at(panel, inner);
          const style = { position: 'absolute' as const, ...place };
          return (
            <div key={panel.id} style={style}>
              {panel.type === 'row' ? (
                <Row title={panel.title} />
              ) : (
                <PanelView panel={panel} scope={scope} marks={marks} {...place} onDone={one} />
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function at({ gridPos: { x, y, w, h } }: Panel, inner: number) {
  const column = (inner + GAP) / COLUMNS;
  return {
    left: Math.round(x * column),
    top: y * (CELL + GAP),
    width: Math.round(w * column) - GAP,
    height: h * (CELL + GAP) - GAP,
  };
}

function Row({ title }: { title: string }) {
  const theme = useTheme2();
  return (
    <div style={{ display: 'flex', alignItems: 'center', gap: 6, height: '100%', ...theme.typography.h6, margin: 0 }}>
      <Icon name="angle-down" />
      {title}
    </div>
  );
}

function Head({ board, scope }: { board: Board; scope: Scope }) {
  const theme = useTheme2();
  const time = `${rangeUtil.describeTimeRange(scope.time.raw, 'utc')}, UTC`;
  const bar = { display: 'flex', alignItems: 'center', gap: GAP, flexWrap: 'wrap' as const };
  return (
    <header style={{ marginBottom: GAP }}>
      <div style={{ ...bar, marginBottom: GAP }}>
        <span style={{ ...theme.typography.h4, margin: 0 }}>{board.title}</span>
        <span style={{ flexGrow: 1 }} />
        <span style={{ color: theme.colors.text.secondary, fontSize: theme.typography.bodySmall.fontSize }}>
          A preview drawn with Grafana’s component library; not Grafana.
        </span>
      </div>
      <div style={bar}>
        {scope.chosen.filter((each) => !each.hidden).map(({ name, label, shown }) => (
          <Box key={name} label={label} text={shown} />
        ))}
        <span style={{ flexGrow: 1 }} />
        {board.links.map((link) => (
          <Box key={link.title} icon="apps" text={link.title} />
        ))}
        <Box icon="clock-nine" text={time} />
      </div>
    </header>
  );
}

function Box({ label, icon, text }: { label?: string; icon?: IconName; text: string }) {
  const theme = useTheme2();
  const border = `1px solid ${theme.colors.border.weak}`;
  const part = { display: 'flex', alignItems: 'center', gap: 6, padding: '0 8px', height: 30 };
  return (
    <span
      style={{
        display: 'flex',
        border,
        borderRadius: theme.shape.radius.default,
        background: theme.colors.background.primary,
        fontSize: theme.typography.bodySmall.fontSize,
      }}
    >
      {label && <b style={{ ...part, fontWeight: 500, borderRight: border }}>{label}</b>}
      <span style={part}>
        {icon && <Icon name={icon} size="sm" />}
        {text}
      </span>
    </span>
  );
}
