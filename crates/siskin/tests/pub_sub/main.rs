//! `siskin pub` and `siskin sub` as their users run them: against our broker, and against a server that
//! follows a script where a broker would have to misbehave.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod broker;
mod script;
mod tool;
