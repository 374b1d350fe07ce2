// keepwatch's dashboards, recording rules and alerts, in the layout that monitoring mixins share.
(import 'config.libsonnet')
+ (import 'rules.libsonnet')
+ (import 'alerts.libsonnet')
+ (import 'dashboards.libsonnet')
