//! A trace that the broker keeps for us.

use serde_json::Value;

use super::{Api, Failure};

/// A trace of the broker's. Dropped, it is ended.
pub(crate) struct Trace<'a> {
    api: &'a Api,
    path: String,
}

impl<'a> Trace<'a> {
    /// Has the broker follow the messages that are `wanted`.
    pub(crate) fn arm(api: &'a Api, wanted: &Value) -> Result<Self, Failure> {
        let answer = api.post("/api/v1/traces", wanted)?;
        Ok(Self { api, path: format!("/api/v1/traces/{}", answer["id"]) })
    }

    /// How it stands, and what was noted after the first `after` stations.
    pub(crate) fn read(&self, after: u64) -> Result<Value, Failure> {
        self.api.get(&self.path, &[("after", after.to_string())])
    }
}

impl Drop for Trace<'_> {
    fn drop(&mut self) {
        // One that cannot be ended ends by itself.
        _ = self.api.delete(&self.path, &[]);
    }
}
