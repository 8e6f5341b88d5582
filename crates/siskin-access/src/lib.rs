//! Who may connect, by [`password`] file, and what they may do, by [`acl`] file: both in Mosquitto's formats.
//!
//! Everything here is a value: texts go in, answers come out. Nothing opens a file, reads a clock, starts a
//! thread or draws a random number; the salts of new hashes are arguments.
//!
//! ```
//! use siskin_access::acl::{Access, Acl, Who};
//!
//! let acl = Acl::parse("user bob\ntopic read news/#\npattern write %u/state\n").unwrap();
//! let bob = acl.for_client(Who { user: Some("bob"), client_id: "phone" });
//! assert!(bob.check(Access::Read, "news/today").allowed);
//! assert!(bob.check(Access::Write, "bob/state").allowed);
//! assert_eq!(bob.check(Access::Write, "news/today").to_string(), "denied: no rule matches");
//! ```

pub mod acl;
mod lines;
mod mistake;
pub mod password;

pub use mistake::{Mistake, Problem};
