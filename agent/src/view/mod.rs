//! What people and programs see of connections: rows and events as JSON, filters, pages, orders, groups. Made from
//! what the model knows; nothing here is judged anew, and nothing is read.

pub mod connection;
pub mod connection_group;
pub mod event_row;
pub mod event_text;
pub mod filter;
pub mod life;
pub mod order;
pub mod page;
pub mod row;
pub mod row_json;
pub mod table_rows;
mod value_enum;
pub mod what_if;
