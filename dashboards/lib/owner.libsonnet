// Whose connections they are. What belongs to no Kubernetes workload and no systemd unit has `workload` empty: it is named
// after its container, else its process, and kept apart by node.
{
  // `expr` with the labels `label`, which is never empty, and `node`, which is empty where a workload is named: that may
  // run on many nodes.
  named(label, expr)::
    local steps = [
      // [label, its value, from which label, if that is so]
      ['owner', 'a process without a name', 'owner', ''],
      ['owner', 'process $1', 'process', '(.+)'],
      ['owner', 'container $1', 'container', '(.+)'],
      ['owner', '$1', 'workload', '(.+)'],
      ['node', '$1', 'instance', '(.*)'],
      ['node', '', 'workload', '.+'],
    ] + (if label == 'owner' then [] else [[label, '$1', 'owner', '(.+)']]);
    std.foldl(function(of, step) 'label_replace(%s, "%s", "%s", "%s", "%s")' % ([of] + step), steps, expr),
}
