//! What people and programs see of connections: rows and events as JSON, filters, pages, orders, groups. Made from
//! what the model knows; nothing here is judged anew but what connections show of
//! each other ([`neighbours`]), and nothing is read.

pub(crate) mod condition_text;
pub(crate) mod connection;
mod connection_facts;
pub(crate) mod connection_group;
pub(crate) mod event_filter;
pub(crate) mod event_row;
pub(crate) mod event_text;
pub(crate) mod filter;
pub(crate) mod life;
pub(crate) mod neighbours;
pub(crate) mod order;
pub(crate) mod page;
pub(crate) mod peer_pattern;
pub mod row;
pub(crate) mod row_json;
pub(crate) mod table_rows;
pub(crate) mod value_enum;
pub(crate) mod what_if;
