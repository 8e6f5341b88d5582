//! What is told to the tools of those who watch over many programs.

use super::Secret;

/// What is told to an OpenTelemetry collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Where traces go by OTLP over HTTP; empty for nowhere.
    pub traces_url: String,
    /// A header that goes with them, `Name: value`; empty for none.
    pub traces_header: Secret,
    /// How many messages a second each worker has followed at most.
    pub traces_per_second: u16,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { traces_url: String::new(), traces_header: Secret::default(), traces_per_second: 10 }
    }
}
