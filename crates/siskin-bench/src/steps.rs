//! The steps of a run, which all threads take together.

use crate::plan::Role;
use crate::scenario::Scenario;

/// A step with the name that the report gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    pub(crate) step: Step,
    /// Whether it is what the run is about: CPU and rates are those of these steps.
    pub(crate) is_measured: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All of a role connect, and subscribe if they are to.
    Connect(Role, Session),
    /// Publishers publish until they are done and all is acknowledged.
    Publish,
    /// Publishers connect, publish and leave, over and over.
    Cycle,
    /// Wait until everything has arrived, or nothing more does.
    Drain,
    /// Ask each of a role for a PINGRESP: what the broker had put out before has then arrived.
    Settle(Role),
    /// Do nothing for a while.
    Hold,
    /// Publish an empty retained message where there was one.
    Clear,
    /// All of a role disconnect.
    Leave(Role),
}

/// Which session a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// As the options say.
    Plain,
    /// A clean one that ends with the connection, without subscriptions.
    Clean,
    /// One that outlives the connection.
    Kept,
    /// The one that was kept, with its subscriptions.
    Resumed,
}

pub(crate) fn stages(scenario: Scenario, subscribers: u32, keep: bool, drain_only: bool) -> Vec<Stage> {
    use Role::{Publisher, Subscriber};
    let stage = |name, step| Stage { name, step, is_measured: false };
    let measured = |name, step| Stage { name, step, is_measured: true };
    let mut stages = Vec::new();
    match scenario {
        Scenario::Idle => {
            stages.push(measured("connect", Step::Connect(Subscriber, Session::Plain)));
            stages.push(stage("hold", Step::Hold));
        }
        Scenario::Connect | Scenario::Churn => {
            if subscribers > 0 {
                stages.push(stage("connect", Step::Connect(Subscriber, Session::Plain)));
            }
            stages.push(measured("cycle", Step::Cycle));
            if subscribers > 0 {
                stages.push(measured("drain", Step::Drain));
                stages.push(stage("settle", Step::Settle(Subscriber)));
            }
        }
        Scenario::Retained => {
            stages.push(stage("connect", Step::Connect(Publisher, Session::Plain)));
            stages.push(measured("store", Step::Publish));
            stages.push(stage("settle", Step::Settle(Publisher)));
            stages.push(measured("subscribe", Step::Connect(Subscriber, Session::Plain)));
            stages.push(measured("drain", Step::Drain));
            stages.push(stage("settle", Step::Settle(Subscriber)));
            if !keep {
                stages.push(stage("leave", Step::Leave(Subscriber)));
                stages.push(stage("clear", Step::Clear));
            }
            stages.push(stage("leave", Step::Leave(Publisher)));
        }
        Scenario::Offline => {
            if !drain_only {
                stages.push(stage("forget", Step::Connect(Subscriber, Session::Clean)));
                stages.push(stage("leave", Step::Leave(Subscriber)));
                stages.push(stage("subscribe", Step::Connect(Subscriber, Session::Kept)));
                stages.push(stage("leave", Step::Leave(Subscriber)));
                stages.push(stage("connect", Step::Connect(Publisher, Session::Plain)));
                stages.push(measured("store", Step::Publish));
                stages.push(stage("settle", Step::Settle(Publisher)));
                stages.push(stage("leave", Step::Leave(Publisher)));
            }
            if !keep {
                stages.push(measured("resume", Step::Connect(Subscriber, Session::Resumed)));
                stages.push(measured("drain", Step::Drain));
                stages.push(stage("settle", Step::Settle(Subscriber)));
                stages.push(stage("leave", Step::Leave(Subscriber)));
                stages.push(stage("forget", Step::Connect(Subscriber, Session::Clean)));
            }
        }
        Scenario::Pairs
        | Scenario::Fanout
        | Scenario::Fanin
        | Scenario::Shared
        | Scenario::Wildcard
        | Scenario::Latency
        | Scenario::Large => {
            if subscribers > 0 {
                stages.push(stage("subscribe", Step::Connect(Subscriber, Session::Plain)));
            }
            stages.push(stage("connect", Step::Connect(Publisher, Session::Plain)));
            stages.push(measured("publish", Step::Publish));
            if subscribers > 0 {
                stages.push(measured("drain", Step::Drain));
                stages.push(stage("settle", Step::Settle(Subscriber)));
            }
            stages.push(stage("leave", Step::Leave(Publisher)));
        }
    }
    let have_left = match scenario {
        Scenario::Offline => keep,
        Scenario::Retained => !keep,
        _ => subscribers == 0,
    };
    if !have_left {
        stages.push(stage("leave", Step::Leave(Subscriber)));
    }
    stages
}
