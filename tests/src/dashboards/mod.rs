//! What shows that the dashboards work: the mixin, a real Prometheus, a fleet that is made up, pictures.

pub mod fleet;
pub mod mixin;
pub mod prometheus;
pub mod promql;
