// Prometheus' answers as Grafana's data frames, in the three forms that its data source makes.
import { FieldType, toDataFrame, type DataFrame } from '@grafana/data';
import type { Target } from './board';
import type { Labels, Line, Row } from './prometheus';

const number = (text: string): number | null => {
  const value = text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
  return Number.isNaN(value) ? null : value;
};

// {{label}} in a legend, and the series written out where there is none.
export function legend(format: string | undefined, labels: Labels): string {
  if (format && format !== '__auto') {
    return format.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? '');
  }
  const { __name__: name = '', ...others } = labels;
  const pairs = Object.entries(others).map(([key, value]) => `${key}="${value}"`);
  return pairs.length ? `${name}{${pairs.join(', ')}}` : name || 'Value';
}

export function lines(target: Target, found: Line[], step: number): DataFrame[] {
  return found.map(({ metric, values }) =>
    toDataFrame({
      refId: target.refId,
      fields: [
        {
          name: 'Time',
          type: FieldType.time,
          values: values.map(([at]) => at * 1000),
          config: { interval: step * 1000 },
        },
        {
          name: 'Value',
          type: FieldType.number,
          labels: metric,
          values: values.map(([, value]) => number(value)),
          config: { displayNameFromDS: legend(target.legendFormat, metric) },
        },
      ],
    })
  );
}

export function rows(target: Target, found: Row[]): DataFrame[] {
  return lines(target, found.map(({ metric, value }) => ({ metric, values: [value] })), 0);
}

// One frame for the query: a column for each label, and the value's, named by the query if there are several.
export function table(target: Target, found: Row[], queries: number): DataFrame[] {
  if (!found.length) {
    return [];
  }
  const labels = [...new Set(found.flatMap(({ metric }) => Object.keys(metric)))].sort();
  return [
    toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: found.map(({ value }) => value[0] * 1000) },
        ...labels.map((label) => ({
          name: label,
          type: FieldType.string,
          values: found.map(({ metric }) => metric[label] ?? ''),
        })),
        {
          name: queries > 1 ? `Value #${target.refId}` : 'Value',
          type: FieldType.number,
          values: found.map(({ value }) => number(value[1])),
        },
      ],
    }),
  ];
}
