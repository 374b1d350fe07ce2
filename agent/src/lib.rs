//! keepwatch: will this connection survive being quiet, and if it died, why?
pub mod model;
pub mod kernel;
