use crate::{Broker, siskin, text};

#[test]
fn somebody_is_banned_listed_and_let_in_again() {
    let broker = Broker::start(&[]);
    let publish = |id: &str| {
        siskin(&["pub", "-p", &broker.mqtt_port, "-i", id, "-t", "a", "-m", "x"]).output().unwrap()
    };
    assert_eq!(broker.says(&["bans"]).lines().count(), 1);
    let ban = ["ban", "--client", "loud", "--reason", "too loud", "--for", "12h"];
    assert_eq!(broker.says(&ban), "banned; nobody was connected\n");
    assert_eq!(broker.says(&["ban", "--address", "192.0.2.0/24"]), "banned; nobody was connected\n");
    let bans = broker.says(&["bans"]);
    let lines: Vec<_> = bans.lines().collect();
    assert!(lines[0].starts_with("CLIENT ID  USER NAME  ADDRESS"), "{bans}");
    assert!(lines[1].starts_with("loud  ") && lines[1].ends_with("  too loud"), "{bans}");
    assert!(lines[2].contains("192.0.2.0/24  for ever"), "{bans}");
    assert_eq!(broker.json(&["bans", "-n", "1"])["has_more"], true);
    let refused = publish("loud");
    assert!(!refused.status.success(), "{}", text(&refused.stdout));
    assert!(publish("quiet").status.success());
    assert_eq!(broker.says(&["unban", "--client", "loud"]), "not banned any more\n");
    assert!(publish("loud").status.success());
    let again = broker.ctl(&["unban", "--client", "loud"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(text(&again.stderr), "the broker says no: the client id \"loud\" is not banned\n");
    for wrong in [
        &["ban"][..],
        &["ban", "--client", "a", "--address", "b"],
        &["ban", "--client", "a", "--for", "soon"],
    ] {
        assert_eq!(broker.ctl(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
