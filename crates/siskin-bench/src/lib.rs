//! Load for an MQTT broker, and an exact account of what the broker made of it.
//!
//! A run is planned as a whole: [`Options`] are what a user wishes, a [`Plan`] has every value decided and
//! every delivery foreseen, [`run`] carries it out and gives a [`Report`]. Nothing here is particular to one
//! broker.
//!
//! - `scenario` and `steps`: the named loads, each a row of defaults and a row of steps.
//! - `worker`: one thread, one poll loop, many clients. A message is sent from a template that was encoded
//!   once, and received without an allocation.
//! - `header`, `seen`, `tally`: every payload says who sent it, as which, and when; what is lost, duplicated
//!   or out of order follows exactly.
//! - `stream`, `layers`: a socket, and TLS and WebSocket above it where they are asked for.
//! - `procfs`: what the broker's process used meanwhile.

mod clock;
mod error;
mod header;
mod json;
mod latency;
mod layers;
mod open_files;
mod options;
mod plan;
mod problem;
mod procfs;
mod report;
mod route;
mod run;
mod scenario;
mod schedule;
mod seen;
mod shared;
mod steps;
mod stream;
mod tally;
mod template;
mod text;
mod timer;
mod topic;
mod worker;

pub use error::{BenchError, PlaceholderFault};
pub use latency::LatencySummary;
pub use options::{Options, WindowOn};
pub use plan::Plan;
pub use problem::{Problem, ProblemKind};
pub use report::{BrokerUse, CutShort, Report, Settings, StageReport};
pub use run::{Progress, run};
pub use scenario::Scenario;
pub use tally::Counts;
