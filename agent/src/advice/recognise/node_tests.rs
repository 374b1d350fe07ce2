//! What a client in Node is told apart by.

use super::tests::{look, names};
use crate::advice::clients::on;

#[test]
fn a_minute_in_node_is_undici_or_axios_on_any_port_but_that_of_another_protocol() {
    let of = |port, own| names(&look("node", &[], port, own));
    let node = ("Node's net.connect and what is built on it", true);
    for port in [80, 443, 8080, 8081, 9999] {
        let expected = [("Node's fetch or undici", false), ("axios", false), node];
        assert_eq!(of(port, on(60, 1, 10)), expected, "{port}");
        // The look-alikes: an http.Agent, as it is, and with an idle time of its own.
        for idle in [1, 45] {
            assert_eq!(of(port, on(idle, 1, 10)), [("Node's http.Agent", false), node], "{port}");
        }
    }
    assert_eq!(of(9092, on(60, 1, 10))[0].0, "kafkajs");
    assert_eq!(of(27017, on(60, 1, 10))[0].0, "the MongoDB driver for Node");
}
