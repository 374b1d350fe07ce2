//! What people and programs see of connections: rows and events as JSON, filters, pages, orders, groups. Made from
//! what the model knows; nothing here is judged anew, and nothing is read.

mod choice;
pub mod connection;
pub mod event_row;
pub mod filter;
pub mod group;
pub mod life;
pub mod meaning;
pub mod order;
pub mod page;
pub mod row;
pub mod row_json;
pub mod table_rows;
pub mod what_if;
