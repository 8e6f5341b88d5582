//! What either end of a connection keeps to deliver each message as often as its QoS promises.
