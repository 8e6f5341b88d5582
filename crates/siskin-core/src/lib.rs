//! An MQTT broker without a socket.
//!
//! [`Worker`] takes frames and the time, and gives back bytes to write, connections to close and events to
//! log. It owns sessions; what all workers of a broker look at together is in [`Shared`]. Nothing in here
//! does I/O, reads a clock, starts a thread or draws a random number: a simulated world can drive it, and
//! does. The only locks are those of [`Shared`] and its router.
//!
//! A packet's way: [`Worker::handle`] decodes it, the session decides, the [`router`] names the receivers,
//! each receiver's outbox sends, queues or drops, and the bytes gather in one [`OutBuffer`] per connection.

mod access;
mod cause;
mod durable;
mod event;
pub mod explain;
mod frames;
mod hash;
mod limits;
mod message;
mod mount_point;
mod out_buffer;
mod pressure;
pub mod recorder;
mod restore;
pub mod retained;
mod route_cache;
pub mod router;
mod session;
mod shared;
mod stats;
pub mod store;
mod sys;
mod time;
mod timer;
pub mod trace;
mod turn;
mod view;
mod worker;

pub use access::{Access, Identity, Permissions, Rulebook, Standing};
pub use cause::{Cause, Violation};
pub use event::{Dropped, Ended as SessionEnd, Event};
pub use limits::{Limits, PublishDenied, QueueFull};
pub use message::{Message, PAYLOAD_INLINE_MAX, Parts, Publisher};
pub use mount_point::{MountPoint, MountPointError};
pub use out_buffer::OutBuffer;
pub use pressure::{Holdings, Pressure};
pub use recorder::{Origin, Story};
pub use restore::{Recovered, Report};
pub use session::SessionKey;
pub use shared::{NodeInfo, Shared};
pub use stats::{Counter, HISTOGRAM_RANGES, Histogram, HistogramTotals, Stats, Totals};
pub use time::Now;
pub use view::{ClientView, ConnectionView, SubscriptionView, WaitingView};
pub use worker::{
    AuthStep, Caller, ClientSubscription, Close, Connected, Ended, Mail, Published, Refusal, Worker,
    refuse_first,
};
