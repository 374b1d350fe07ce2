// Panels of Grafana's classic model. Each has a title that asks, and a description that answers.
local color = import 'color.libsonnet';
local datasource = { type: 'prometheus', uid: '${datasource}' };

local target(expr, index, more) = {
  datasource: datasource,
  expr: expr,
  refId: std.char(std.codepoint('A') + index),
} + more;

local panel(type, title, description) = {
  type: type,
  title: title,
  description: description,
  datasource: datasource,
};

local fixed(name, value) = {
  matcher: { id: 'byName', options: name },
  properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: value } }],
};

// Colours by value: `steps` is [[from, colour], ...], the first from null.
local thresholds(steps) = {
  mode: 'absolute',
  steps: [{ color: step[1], value: step[0] } for step in steps],
};

// Seconds as people say them: 2 h 4 min.
local time(seconds) =
  local parts = [[std.floor(seconds / 3600), 'h'], [std.floor(seconds / 60) % 60, 'min'], [seconds % 60, 's']];
  std.join(' ', ['%d %s' % part for part in parts if part[0] > 0]);

{
  // Bounds of the histograms, in seconds, as docs/METRICS.md has them.
  idleBounds:: [15, 30, 60, 120, 240, 300, 350, 600, 900, 1200, 1800, 3600, 7200, 7440],
  detectionBounds:: [30, 60, 120, 240, 350, 600, 900, 1800, 3600, 7200, 7875, 14400, 86400],
  quietBounds:: [1, 5, 15, 30, 60, 120, 240, 300, 350, 600, 900, 1800, 3600, 7200],

  // Good until `n`.
  below(n):: [[null, color.good], [n, color.bad]],
  none:: self.below(1),
  plain:: [[null, color.plain]],

  // Units of rates: Grafana's own say c/m and c/s.
  perMinute:: 'suffix: / min',
  perSecond:: 'suffix: / s',

  // One number.
  stat(title, description, expr, unit='short', steps=self.plain, decimals=null)::
    panel('stat', title, description) {
      targets: [target(expr, 0, { legendFormat: '__auto', range: true })],
      fieldConfig: {
        defaults: {
          unit: unit,
          [if decimals != null then 'decimals']: decimals,
          noValue: '0',
          color: { mode: 'thresholds' },
          thresholds: thresholds(steps),
        },
        overrides: [],
      },
      options: {
        colorMode: 'value',
        graphMode: 'area',
        justifyMode: 'auto',
        orientation: 'auto',
        textMode: 'value',
        reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
      },
    },

  // Lines over time; `lines` is [[expr, legend], ...]. `colors` fixes the colour of names.
  series(title, description, lines, unit='short', colors={}, stacked=false, max=null)::
    panel('timeseries', title, description) {
      targets: [
        target(lines[i][0], i, { legendFormat: lines[i][1], range: true })
        for i in std.range(0, std.length(lines) - 1)
      ],
      fieldConfig: {
        defaults: {
          unit: unit,
          min: 0,
          [if max != null then 'max']: max,
          color: { mode: 'palette-classic-by-name' },
          custom: {
            drawStyle: 'line',
            lineInterpolation: 'linear',
            lineWidth: 1,
            fillOpacity: if stacked then 45 else 8,
            showPoints: 'never',
            spanNulls: false,
            stacking: { mode: if stacked then 'normal' else 'none', group: 'A' },
          },
        },
        overrides: [fixed(name, colors[name]) for name in std.objectFields(colors)],
      },
      options: {
        legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
        tooltip: { mode: 'multi', sort: 'desc' },
      },
    },

  // How many values are in each bucket. `expr` gives buckets by `le`.
  buckets(title, description, bounds, expr, steps=self.plain)::
    panel('bargauge', title, description) {
      targets: [target(expr, 0, { legendFormat: '{{le}}', format: 'heatmap', instant: true, range: false })],
      fieldConfig: {
        defaults: {
          unit: 'short',
          decimals: 0,
          min: 0,
          color: { mode: 'thresholds' },
          thresholds: thresholds(steps),
        },
        overrides: [
          {
            matcher: { id: 'byName', options: '%d' % bound },
            properties: [{ id: 'displayName', value: 'up to ' + time(bound) }],
          }
          for bound in bounds
        ] + [{
          matcher: { id: 'byName', options: '+Inf' },
          properties: [{ id: 'displayName', value: 'longer' }],
        }],
      },
      options: {
        displayMode: 'basic',
        orientation: 'horizontal',
        showUnfilled: true,
        valueMode: 'text',
        namePlacement: 'left',
        sizing: 'auto',
        reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
      },
    },

  // A column of a table: `expr` gives one row for each set of `by` labels.
  column(name, expr, unit='short', steps=null):: { name: name, expr: expr, unit: unit, steps: steps },

  // `by`: labels that name a row. `links`: what a click on a label opens. The `limit` rows with the most
  // in the column `sort`.
  // `hidden` labels are there for links only.
  table(title, description, by, columns, links={}, sort=columns[0].name, limit=50, names={}, hidden=[])::
    local values = [
      if std.length(columns) == 1 then 'Value' else 'Value #' + std.char(std.codepoint('A') + i)
      for i in std.range(0, std.length(columns) - 1)
    ];
    local word(label) =
      if std.objectHas(names, label) then names[label] else std.asciiUpper(label[0]) + std.strReplace(label[1:], '_', ' ');
    panel('table', title, description) {
      targets: [
        target(columns[i].expr, i, { format: 'table', instant: true, range: false })
        for i in std.range(0, std.length(columns) - 1)
      ],
      transformations: [
        { id: 'merge', options: {} },
        {
          id: 'organize',
          options: {
            excludeByName: { Time: true },
            indexByName: {
              [(by + values)[i]]: i
              for i in std.range(0, std.length(by + values) - 1)
            },
            renameByName: { [label]: word(label) for label in by }
                          + { [values[i]]: columns[i].name for i in std.range(0, std.length(columns) - 1) },
          },
        },
        { id: 'sortBy', options: { fields: {}, sort: [{ field: sort, desc: true }] } },
        { id: 'limit', options: { limitField: limit } },
      ],
      fieldConfig: {
        defaults: { unit: 'short', custom: { align: 'auto', filterable: true } },
        overrides: [
          {
            matcher: { id: 'byName', options: column.name },
            properties: [{ id: 'unit', value: column.unit }] + (
              // Else one cell has 19% and the next 5.13%.
              if column.unit == 'percentunit' then [{ id: 'decimals', value: 1 }] else []
            ) + (
              if column.steps == null then [] else [
                { id: 'thresholds', value: thresholds(column.steps) },
                { id: 'custom.cellOptions', value: { type: 'color-text' } },
              ]
            ),
          }
          for column in columns
        ] + [
          {
            matcher: { id: 'byName', options: word(label) },
            properties: [{ id: 'links', value: [links[label]] }],
          }
          for label in std.objectFields(links)
        ] + [
          { matcher: { id: 'byName', options: word(label) }, properties: [{ id: 'custom.hidden', value: true }] }
          for label in hidden
        ],
      },
      options: {
        showHeader: true,
        cellHeight: 'sm',
        sortBy: [{ displayName: sort, desc: true }],
      },
    },
}
