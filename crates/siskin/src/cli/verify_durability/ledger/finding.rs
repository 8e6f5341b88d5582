//! What was found wrong: how often, and the first few in words.

/// One kind of fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finding {
    pub(crate) count: u64,
    pub(crate) first: Vec<String>,
}

/// How many faults of a kind are described.
const DESCRIBED_MAX: usize = 5;

impl Finding {
    pub(crate) fn note(&mut self, describe: impl FnOnce() -> String) {
        self.count += 1;
        if self.first.len() < DESCRIBED_MAX {
            self.first.push(describe());
        }
    }
}

/// All kinds of faults.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    /// Acknowledged to the publisher, and never came.
    pub(crate) lost: Finding,
    /// Of QoS 2 at either end, and came twice.
    pub(crate) repeated: Finding,
    /// First came behind a later one of the same topic.
    pub(crate) misordered: Finding,
    /// Came, but was never published so.
    pub(crate) foreign: Finding,
    /// The broker knew nothing of a session that it had accepted.
    pub(crate) sessions: Finding,
    pub(crate) retained: Finding,
    pub(crate) wills: Finding,
    pub(crate) subscriptions: Finding,
    /// The broker refused a message, or ended a connection by itself.
    pub(crate) refused: Finding,
}

impl Findings {
    /// Each kind with its name in the report, as JSON calls it and in words.
    pub(crate) fn all(&self) -> [(&'static str, &'static str, &Finding); 9] {
        [
            ("lost", "acknowledged messages lost", &self.lost),
            ("repeated", "QoS 2 messages delivered twice", &self.repeated),
            ("misordered", "messages out of order", &self.misordered),
            ("foreign", "messages that nobody published so", &self.foreign),
            ("sessions", "sessions lost", &self.sessions),
            ("retained", "retained messages wrong", &self.retained),
            ("wills", "wills wrong", &self.wills),
            ("subscriptions", "subscriptions wrong", &self.subscriptions),
            ("refused", "messages or connections refused", &self.refused),
        ]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, _, finding)| finding.count == 0)
    }
}
