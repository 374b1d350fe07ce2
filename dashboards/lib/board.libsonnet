// A dashboard: variables, links, and panels laid out row by row.
local datasource = { type: 'prometheus', uid: '${datasource}' };
local tag = 'keepwatch';
local width = 24;

local variable(name, label, query, all) = {
  type: 'query',
  name: name,
  label: label,
  datasource: datasource,
  query: query,
  definition: query,
  refresh: 2,
  regex: '',
  sort: 1,
  multi: true,
  includeAll: true,
  allValue: all,
  current: { selected: true, text: ['All'], value: ['$__all'] },
  hide: 0,
};

// What a link keeps: where the series come from, and when.
local context = '${datasource:queryparam}&${cluster:queryparam}&${job:queryparam}&${__url_time_range}';

{
  // `label_values` over what was picked so far. Absent labels are values too: the path of a
  // connection without one, the namespace of a host without Kubernetes.
  label(config, name, label, more='')::
    variable(
      name,
      label,
      'label_values(keepwatch_sockets{%s=~"$cluster", job=~"$job", instance=~"$instance"%s}, %s)'
      % [config.clusterLabel, more, name],
      '.*',
    ),

  // To a dashboard, with a row's labels as its variables.
  to(board, what, labels):: {
    title: what,
    url: '/d/keepwatch-%s?%s' % [board, std.join('&', [context] + [
      'var-%s=${__data.fields.%s}' % [label, std.asciiUpper(label[0]) + label[1:]]
      for label in labels
    ])],
  },

  // `rows` is [[height, [[width, panel], ...]], ...].
  board(config, id, title, description, variables, rows)::
    local heights = [row[0] for row in rows];
    local top(i) = std.foldl(function(sum, height) sum + height, heights[:i], 0);
    local left(panels, i) = std.foldl(function(sum, placed) sum + placed[0], panels[:i], 0);
    local placed = std.flattenArrays([
      local row = rows[i];
      [
        row[1][j][1] { gridPos: { x: left(row[1], j), y: top(i), w: row[1][j][0], h: row[0] } }
        for j in std.range(0, std.length(row[1]) - 1)
      ]
      for i in std.range(0, std.length(rows) - 1)
    ]);
    {
      id: null,
      uid: 'keepwatch-' + id,
      title: 'keepwatch / ' + title,
      description: description,
      tags: [tag],
      schemaVersion: 41,
      version: 1,
      editable: false,
      graphTooltip: 1,
      timezone: 'browser',
      time: { from: config.dashboardRange, to: 'now' },
      refresh: config.dashboardRefresh,
      annotations: {
        list: [{
          name: 'Alerts',
          datasource: datasource,
          enable: true,
          iconColor: 'red',
          expr: 'ALERTS{alertname=~"Keepwatch.+", alertstate="firing", %s=~"$cluster"}' % config.clusterLabel,
          titleFormat: '{{alertname}}',
          textFormat: '{{namespace}} {{workload}} {{node}} {{path}} {{instance}}',
          step: '60s',
        }],
      },
      links: [{
        type: 'dashboards',
        title: 'keepwatch',
        tags: [tag],
        asDropdown: false,
        includeVars: true,
        keepTime: true,
        targetBlank: false,
        icon: 'external link',
      }],
      templating: {
        list: [
          {
            type: 'datasource',
            name: 'datasource',
            label: 'Data source',
            query: 'prometheus',
            regex: '',
            multi: false,
            includeAll: false,
            hide: 0,
          },
          variable('cluster', 'Cluster', 'label_values(keepwatch_build_info, %s)' % config.clusterLabel, '.*'),
          variable('job', 'Job', 'label_values(keepwatch_build_info{%s=~"$cluster"}, job)' % config.clusterLabel, '.+'),
          variable(
            'instance',
            'Instance',
            'label_values(keepwatch_build_info{%s=~"$cluster", job=~"$job"}, instance)' % config.clusterLabel,
            '.+',
          ),
        ] + variables,
      },
      panels: [placed[i] { id: i + 1 } for i in std.range(0, std.length(placed) - 1)],
    },
}
