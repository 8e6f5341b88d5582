//! What either end of a connection keeps to deliver each message as often as its QoS promises.
//!
//! The machines know packet ids and steps, not messages: what is delivered is a parameter. They outlive
//! a connection where the session does, and never look at a clock or a socket.

mod alias;
mod receiver;
mod sender;

pub use alias::{InboundAliases, OutboundAlias, OutboundAliases};
pub use receiver::{Arrival, Receiver};
pub use sender::{Acked, Resend, Sender};
