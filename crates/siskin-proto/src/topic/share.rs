//! Shared subscriptions: `$share/NAME/FILTER`. [MQTT5 section 4.8.2]

use super::TopicError;

/// The text before the share name.
const PREFIX: &str = "$share/";

/// Where in `text` the filter begins that is matched: 0 unless the text is a shared subscription.
pub(super) fn filter_start(text: &str) -> Result<usize, TopicError> {
    // "$share" alone would be a filter for a topic that nobody can tell from a mistake.
    if text == "$share" {
        return Err(TopicError::ShareName);
    }
    let Some(shared) = text.strip_prefix(PREFIX) else { return Ok(0) };
    let (name, filter) = match shared.split_once('/') {
        Some((name, filter)) => (name, filter),
        None => (shared, ""),
    };
    if name.is_empty() || name.contains(['+', '#']) {
        return Err(TopicError::ShareName); // [MQTT5 4.8.2-1] [MQTT5 4.8.2-2]
    }
    if filter.is_empty() {
        return Err(TopicError::ShareFilter); // [MQTT5 4.8.2-2]
    }
    Ok(text.len() - filter.len())
}

/// The share name of a text whose filter starts at `filter_start`.
pub(super) fn name(text: &str, filter_start: usize) -> Option<&str> {
    text.get(PREFIX.len()..filter_start.checked_sub(1)?)
}
