//! EMQX's `acl`, as it stands in tokens and HTTP answers.
//!
//! The old form is an object of white lists, `{"pub": [..], "sub": [..], "all": [..]}`: what they do not name is
//! denied. The new form is an array of rules, `{"permission": "allow", "action": "publish", "topic": "t/#"}`, with
//! `qos` and `retain` if one likes: what no rule matches is left to the broker's own. A rule that has anything else
//! in it is refused, because what it was meant to restrict is not known.

use serde_json::{Map, Value};

use crate::permission::{Effect, Permission, Permissions};

/// Reads an `acl`, or says what is wrong with it.
pub(crate) fn permissions(acl: &Value) -> Result<Permissions, String> {
    let permissions = match acl {
        Value::Object(lists) => Permissions { rules: white_lists(lists)?, denies_rest: true },
        Value::Array(rules) => {
            let rules = rules
                .iter()
                .enumerate()
                .map(|(index, value)| rule(value).map_err(|why| format!("`acl`, rule {}: {why}", index + 1)));
            Permissions { rules: rules.collect::<Result<_, _>>()?, denies_rest: false }
        }
        _ => return Err("`acl` is neither an object nor an array".to_owned()),
    };
    if permissions.rules.len() > RULES_MAX {
        return Err(format!("`acl` has {} rules, and {RULES_MAX} is the limit", permissions.rules.len()));
    }
    Ok(permissions)
}

fn white_lists(lists: &Map<String, Value>) -> Result<Vec<Permission>, String> {
    let mut rules = Vec::new();
    for (name, topics) in lists {
        let (is_publish, is_subscribe) = match name.as_str() {
            "pub" => (true, false),
            "sub" => (false, true),
            "all" => (true, true),
            _ => return Err(format!("`acl` has `{}` in it: pub, sub or all", name.escape_debug())),
        };
        let wrong = || format!("`acl`: `{name}` is not an array of topics");
        for topic in topics.as_array().ok_or_else(wrong)? {
            let (filter, is_exact) = filter(topic.as_str().ok_or_else(wrong)?)?;
            let effect = Effect::Allow;
            rules.push(Permission {
                effect,
                is_publish,
                is_subscribe,
                filter: filter.into(),
                is_exact,
                qos: ANY_QOS,
                retain: None,
            });
        }
    }
    Ok(rules)
}

fn rule(value: &Value) -> Result<Permission, String> {
    let fields = value.as_object().ok_or("not an object")?;
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let effect = match text("permission") {
        Some("allow") => Effect::Allow,
        Some("deny") => Effect::Deny,
        _ => return Err("`permission` is allow or deny".to_owned()),
    };
    let (is_publish, is_subscribe) = match text("action") {
        Some("publish" | "pub") => (true, false),
        Some("subscribe" | "sub") => (false, true),
        Some("all" | "pubsub") => (true, true),
        _ => return Err("`action` is publish, subscribe or all".to_owned()),
    };
    let (filter, is_exact) = filter(text("topic").ok_or("`topic` is missing or no text")?)?;
    let mut rule = Permission {
        effect,
        is_publish,
        is_subscribe,
        filter: filter.into(),
        is_exact,
        qos: ANY_QOS,
        retain: None,
    };
    for (name, value) in fields {
        match name.as_str() {
            "permission" | "action" | "topic" => {}
            "qos" => rule.qos = qos(value)?,
            "retain" => rule.retain = Some(value.as_bool().ok_or("`retain` is true or false")?),
            _ => return Err(format!("`{}` is not known", name.escape_debug())),
        }
    }
    Ok(rule)
}

/// A topic filter, and whether it stands for itself alone.
fn filter(text: &str) -> Result<(&str, bool), String> {
    let (filter, is_exact) = text.strip_prefix("eq ").map_or((text, false), |filter| (filter, true));
    let mut levels = filter.split('/').peekable();
    let mut is_good = !filter.is_empty() && filter.len() <= usize::from(u16::MAX) && !filter.contains('\0');
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        is_good &= !level.contains(['+', '#']) || level == "+" || (level == "#" && is_last);
    }
    if is_good { Ok((filter, is_exact)) } else { Err(format!("`{}` is no filter", filter.escape_debug())) }
}

/// A QoS or several as bits.
fn qos(value: &Value) -> Result<u8, String> {
    let bit = |value: &Value| match value.as_u64() {
        Some(qos @ 0..=2) => Ok(1 << qos),
        _ => Err("`qos` is 0, 1 or 2, or an array of these".to_owned()),
    };
    match value {
        Value::Array(values) => values.iter().try_fold(0, |bits, value| Ok(bits | bit(value)?)),
        value => bit(value),
    }
}

const ANY_QOS: u8 = 0b111;

/// So many rules one client may bring along: they are looked through one by one.
const RULES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::{Action, Subject};

    const BOB: Subject<'_> = Subject { user_name: Some("bob"), client_id: "phone" };
    const PUBLISH: Action = Action::Publish { qos: 0, retain: false };
    const SUBSCRIBE: Action = Action::Subscribe { qos: 0 };

    fn read(text: &str) -> Result<Permissions, String> {
        permissions(&serde_json::from_str(text).unwrap())
    }

    fn answer(permissions: &Permissions, action: Action, topic: &str) -> Option<bool> {
        permissions.check(BOB, action, topic).map(|(is_allowed, _)| is_allowed)
    }

    #[test]
    fn white_lists_deny_what_they_do_not_name() {
        let acl = read(r#"{"pub": ["up/%u/%c", "u-${username}/+"], "sub": ["down/#"], "all": ["eq a/#"]}"#)
            .unwrap();
        let cases = [
            (PUBLISH, "up/bob/phone", true),
            (PUBLISH, "up/eve/phone", false),
            (PUBLISH, "u-bob/x", true),
            (PUBLISH, "u-bob/x/y", false),
            (PUBLISH, "down/x", false),
            (SUBSCRIBE, "down", true),
            (SUBSCRIBE, "down/+/x", true),
            (SUBSCRIBE, "+/x", false),
            (SUBSCRIBE, "#", false),
            (SUBSCRIBE, "a/#", true),
            (SUBSCRIBE, "a/b", false),
        ];
        for (action, topic, is_allowed) in cases {
            assert_eq!(answer(&acl, action, topic), Some(is_allowed), "{action:?} {topic}");
        }
    }

    #[test]
    fn of_rules_the_first_that_matches_decides_and_the_rest_is_left_to_others() {
        let acl = read(
            r#"[
                {"permission": "deny", "action": "publish", "topic": "a/secret", "retain": true},
                {"permission": "allow", "action": "all", "topic": "a/+"},
                {"permission": "deny", "action": "subscribe", "topic": "b/#", "qos": [1, 2]}
            ]"#,
        )
        .unwrap();
        let retained = Action::Publish { qos: 0, retain: true };
        assert_eq!(answer(&acl, retained, "a/secret"), Some(false));
        assert_eq!(answer(&acl, PUBLISH, "a/secret"), Some(true));
        assert_eq!(answer(&acl, SUBSCRIBE, "a/+"), Some(true));
        assert_eq!(answer(&acl, SUBSCRIBE, "a/#"), None, "more than the rule allows");
        assert_eq!(answer(&acl, SUBSCRIBE, "b/x"), None);
        assert_eq!(answer(&acl, Action::Subscribe { qos: 2 }, "b/x"), Some(false));
    }

    #[test]
    fn a_name_that_is_a_wildcard_reaches_nothing() {
        let acl = read(r#"{"all": ["u/%u/#", "c/%c"]}"#).unwrap();
        for name in ["+", "#", "a/b", ""] {
            let subject = Subject { user_name: Some(name), client_id: name };
            for topic in [format!("u/{name}/x"), format!("c/{name}"), "u/bob/x".to_owned()] {
                assert_eq!(acl.check(subject, SUBSCRIBE, &topic), Some((false, None)), "{name} {topic}");
            }
        }
        let nobody = Subject { user_name: None, client_id: "phone" };
        assert_eq!(acl.check(nobody, PUBLISH, "u//x"), Some((false, None)));
    }

    #[test]
    fn wildcards_do_not_reach_system_topics() {
        let acl = read(r##"{"sub": ["#", "+/broker"]}"##).unwrap();
        assert_eq!(answer(&acl, SUBSCRIBE, "$SYS/broker"), Some(false));
        assert_eq!(answer(&acl, SUBSCRIBE, "#"), Some(true));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("1", "`acl` is neither an object nor an array"),
            (r#"{"publish": []}"#, "`acl` has `publish` in it: pub, sub or all"),
            (r#"{"pub": "a"}"#, "`acl`: `pub` is not an array of topics"),
            (r##"{"pub": ["a/#/b"]}"##, "`a/#/b` is no filter"),
            ("[1]", "`acl`, rule 1: not an object"),
            (
                r#"[{"permission": "maybe", "action": "all", "topic": "a"}]"#,
                "`acl`, rule 1: `permission` is allow or deny",
            ),
            (
                r#"[{"permission": "allow", "action": "all", "topic": "a", "ipaddr": "::1"}]"#,
                "`acl`, rule 1: `ipaddr` is not known",
            ),
            (
                r#"[{"permission": "allow", "action": "all", "topic": "a", "qos": [3]}]"#,
                "`acl`, rule 1: `qos` is 0, 1 or 2, or an array of these",
            ),
        ];
        for (text, why) in cases {
            assert_eq!(read(text).unwrap_err(), why, "{text}");
        }
    }
}
