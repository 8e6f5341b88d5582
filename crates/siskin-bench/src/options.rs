//! What a user may say about a run. What was left out is the scenario's to decide.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use siskin_proto::{Qos, Version};

use crate::Scenario;

/// A wish for a run. [`Plan::new`](crate::Plan::new) makes it whole, or says why it cannot be.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of the command line, whose help says what each does")]
pub struct Options {
    pub scenario: Scenario,
    pub host: String,
    pub port: u16,
    pub version: Version,
    pub user_name: Option<String>,
    pub password: Option<String>,
    pub clean_start: bool,
    pub session_expiry_s: Option<u32>,
    pub receive_maximum: Option<u16>,
    pub keep_alive_s: u16,
    pub id_prefix: Option<String>,
    pub clients: Option<u32>,
    pub publishers: Option<u32>,
    pub subscribers: Option<u32>,
    pub client_offset: u32,
    pub topic: Option<String>,
    pub filters: Vec<String>,
    pub filters_each: Option<u32>,
    pub qos: Option<Qos>,
    pub subscribe_qos: Option<Qos>,
    pub retain: bool,
    pub payload_bytes: Option<usize>,
    pub messages: Option<u64>,
    pub duration: Option<Duration>,
    pub window: Option<u16>,
    pub window_on: Option<WindowOn>,
    pub rate_per_s: Option<f64>,
    pub connect_rate_per_s: Option<f64>,
    pub connecting_max: u32,
    pub sources: Vec<IpAddr>,
    pub ca: Option<PathBuf>,
    pub websocket_path: Option<String>,
    pub cycles: Option<u64>,
    pub each: Option<u32>,
    pub hold: Duration,
    pub keep: bool,
    pub drain_only: bool,
    pub pid: Option<u32>,
    pub threads: Option<u16>,
    pub timeout: Option<Duration>,
    pub patience: Duration,
    /// To be set by whoever wants the run to end, with a report of what there is.
    pub stop: Arc<AtomicBool>,
}

/// What makes room in a publisher's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowOn {
    /// PUBACK or PUBCOMP. At QoS 0, where there is none: as for [`Arrival`](Self::Arrival).
    Acknowledgement,
    /// That every subscriber has got the message, on the average over them; above QoS 0 also the acknowledgement.
    Arrival,
}

impl Options {
    /// The scenario as it is by itself, against a broker on this machine.
    pub fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            host: "localhost".to_owned(),
            port: 1883,
            version: Version::V5,
            user_name: None,
            password: None,
            clean_start: true,
            session_expiry_s: None,
            receive_maximum: None,
            keep_alive_s: 0,
            id_prefix: None,
            clients: None,
            publishers: None,
            subscribers: None,
            client_offset: 0,
            topic: None,
            filters: Vec::new(),
            filters_each: None,
            qos: None,
            subscribe_qos: None,
            retain: false,
            payload_bytes: None,
            messages: None,
            duration: None,
            window: None,
            window_on: None,
            rate_per_s: None,
            connect_rate_per_s: None,
            connecting_max: 100,
            sources: Vec::new(),
            ca: None,
            websocket_path: None,
            cycles: None,
            each: None,
            hold: Duration::from_secs(5),
            keep: false,
            drain_only: false,
            pid: None,
            threads: None,
            timeout: None,
            patience: Duration::from_secs(3),
            stop: Arc::default(),
        }
    }
}
