//! The small client under `siskin pub` and `siskin sub`.
//!
//! One thread owns everything and waits in [`Client::wait`]; the threads in `event.rs` only read for it.
//! Acknowledgements leave behind the output they answer for: what the server need not send again was
//! printed.

mod arguments;
mod connection;
mod console;
mod event;
mod failure;
mod format;
mod incoming;
mod json;
mod keep_alive;
mod outgoing;
mod properties;
mod trace;
mod url;

pub(super) use arguments::{ConnectionArgs, Settings, parse_qos, parse_version, topic_filter, topic_name};
pub(super) use connection::{Client, Woken};
pub(super) use console::output_failure;
pub(super) use failure::{CONNECTION_LOST, Failure, PAYLOAD_SIZE, TIMED_OUT, complain, end};
pub(super) use format::{Format, Shown};
pub(super) use incoming::{Incoming, Message, packets};
pub(super) use json::string as json_string;
pub(super) use outgoing::Outgoing;
pub(super) use properties::PROPERTIES_HELP;
