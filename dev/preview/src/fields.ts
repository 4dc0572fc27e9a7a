// A panel's field configuration applied to its frames, by Grafana's own functions.
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  FieldConfigOptionsRegistry,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
  type DataFrame,
  type FieldConfigPropertyItem,
  type FieldConfigSource,
  type GrafanaTheme2,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';
import type { Panel } from './board';

// One of them stands under two names.
const transformers = new Map(Object.values(standardTransformers).map((each) => [each.id, each]));
standardTransformersRegistry.setInit(() =>
  [...transformers].map(([id, transformation]) => ({
    id,
    name: transformation.name,
    transformation: async () => transformation,
    // Editors are for people who change panels, of whom there are none here.
    editor: () => null,
    imageDark: '',
    imageLight: '',
  }))
);

export async function prepared(panel: Panel, found: DataFrame[], theme: GrafanaTheme2): Promise<DataFrame[]> {
  const data = await lastValueFrom(transformDataFrame(panel.transformations ?? [], found));
  const frames = applyFieldOverrides({
    data,
    fieldConfig: panel.fieldConfig,
    fieldConfigRegistry: registry(panel.fieldConfig),
    replaceVariables: (text) => text,
    theme,
    timeZone: 'utc',
  });
  cacheFieldDisplayNames(frames); // the table reads them there
  return frames;
}

// Grafana registers every property with its editor; here those that a configuration names are enough.
function registry({ defaults, overrides }: FieldConfigSource): FieldConfigOptionsRegistry {
  const ids = new Set([
    ...Object.keys(defaults).filter((key) => key !== 'custom'),
    ...Object.keys(defaults.custom ?? {}).map((key) => `custom.${key}`),
    ...overrides.flatMap((rule) => rule.properties.map((property) => property.id)),
  ]);
  return new FieldConfigOptionsRegistry(() => [...ids].map(property));
}

function property(id: string): FieldConfigPropertyItem {
  const none = () => null;
  return {
    id,
    path: id.replace(/^custom\./, ''),
    isCustom: id.startsWith('custom.'),
    name: id,
    process: (value) => value,
    shouldApply: () => true,
    editor: none,
    override: none,
  };
}
