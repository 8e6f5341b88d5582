use std::net::SocketAddr;

use super::*;
use crate::config::{Banned, Excess};

fn at(address: &str) -> Listener {
    address.parse::<SocketAddr>().unwrap().into()
}

fn resolved(text: &str) -> Config {
    Settings::from_toml(text).unwrap().resolve()
}

pub(super) fn values(config: &Config) -> Vec<(&'static str, Value)> {
    SETTINGS.iter().map(|setting| (setting.name, setting.read(config))).collect()
}

/// For each setting a value that is not its default.
pub(crate) fn other_value(setting: &Setting) -> Value {
    match (setting.kind(), setting.default()) {
        (Kind::Number { range, .. }, Value::Number(default)) if default == *range.end() => {
            Value::Number(*range.start())
        }
        (Kind::Number { range, .. }, _) => Value::Number(*range.end()),
        (Kind::Choice(words), default) => {
            words.iter().map(|word| Value::Text((*word).to_owned())).find(|value| *value != default).unwrap()
        }
        (Kind::Account { .. }, _) => Value::Text("nobody:5".to_owned()),
        (Kind::Memory, _) => Value::Number(64 << 20),
        (Kind::Url { .. }, _) => Value::Text("https://other.example/v1/traces?a=\"5\"".to_owned()),
        (Kind::AdminAddress, _) => Value::Text("127.0.0.1:5".to_owned()),
        (_, Value::Switch(default)) => Value::Switch(!default),
        _ => Value::Text("other \"name\" \\ 5".to_owned()),
    }
}

#[test]
fn every_setting_takes_its_value_and_no_other_setting_does() {
    for setting in SETTINGS {
        let mut config = Config::default();
        let value = other_value(setting);
        setting.write(&mut config, &value);
        for (name, now) in values(&config) {
            let expected =
                if name == setting.name { value.clone() } else { Setting::named(name).unwrap().default() };
            assert_eq!(now, expected, "{name} after setting {}", setting.name);
        }
    }
}

#[test]
fn every_default_is_one_of_the_values_allowed() {
    for setting in SETTINGS {
        let shown = setting.kind().show(&setting.default());
        assert_eq!(setting.kind().parse(&shown), Ok(setting.default()), "{}", setting.name);
    }
}

#[test]
fn names_and_flags_are_unique() {
    for (at, one) in SETTINGS.iter().enumerate() {
        for other in &SETTINGS[at + 1..] {
            assert_ne!(one.name, other.name);
            assert_ne!(one.flag(), other.flag());
        }
    }
}

#[test]
fn the_default_configuration_as_a_file_says_the_same() {
    let text = Config::default().to_toml();
    let back = resolved(&text);
    assert_eq!(values(&back), values(&Config::default()));
    assert_eq!(back.listeners, Config::default().listeners);
    assert_eq!(back.to_toml(), text);
}

#[test]
fn any_configuration_as_a_file_says_the_same() {
    let mut config = Config::default();
    for setting in SETTINGS {
        setting.write(&mut config, &other_value(setting));
    }
    config.listeners = vec![at("0.0.0.0:1"), at("[fe80::1]:65535")];
    let back = resolved(&config.to_toml());
    assert_eq!(values(&back), values(&config));
    assert_eq!(back.listeners, config.listeners);
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = resolved("# nothing\n");
    assert_eq!(values(&config), values(&Config::default()));
    assert_eq!(config.listeners, Config::default().listeners);
}

#[test]
fn each_mistake_is_told_with_its_place() {
    let cases = [
        ("wokrers = 2", "1:1: there is no setting `wokrers`; did you mean `workers`?"),
        (
            "packet_size_max = 5",
            "1:1: there is no setting `packet_size_max`; did you mean `limits.packet_size_max`?",
        ),
        ("\n[limit]\na = 1", "2:2: there is no setting `limit`; did you mean `limits`?"),
        (
            "[limits]\npacket_size = 5",
            "2:1: there is no setting `packet_size` in [limits]; did you mean `packet_size_max`?",
        ),
        ("[limits]\nbanana = 5", "2:1: there is no setting `banana` in [limits]"),
        (
            "[limits]\npacket_size_max = \"16MB\"",
            "2:19: `limits.packet_size_max`: `16MB` is not a size like 512, 64KiB or 16MiB",
        ),
        (
            "[limits]\npacket_size_max = true",
            "2:19: `limits.packet_size_max`: `true` is not a size like 512, 64KiB or 16MiB",
        ),
        (
            "[limits]\npacket_size_max = 1",
            "2:19: `limits.packet_size_max`: `1` is out of range, allowed is 128 to 268435455",
        ),
        (
            "[limits]\npacket_size_max = -1",
            "2:19: `limits.packet_size_max`: `-1` is not a size like 512, 64KiB or 16MiB",
        ),
        (
            "[limits]\nsession_expiry_max = \"1500ms\"",
            "2:22: `limits.session_expiry_max`: `1500ms` is not a time in whole seconds like 10s, 5m, 2h or 30d, nor `never`",
        ),
        (
            "[limits]\nqueue_full = \"newest\"",
            "2:14: `limits.queue_full`: `newest` is not one of drop-newest, drop-oldest",
        ),
        ("[limits]\nmax_qos = 3", "2:11: `limits.max_qos`: `3` is not one of 0, 1, 2"),
        ("[limits]\nmax_qos = [1]", "2:11: `limits.max_qos` takes one value: 0, 1, 2"),
        ("[limits]\nqueue_qos0 = \"yes\"", "2:14: `limits.queue_qos0`: `yes` is not true or false"),
        ("limits = 5", "1:10: `limits` is a section: write [limits]"),
        (
            "node_name = \"a/b\"",
            "1:13: `node_name`: `a/b` is not a name of at most 255 bytes without / + # and control characters",
        ),
        ("[[listener]]\naddress = \"localhost\"", "2:11: `address`: `localhost` is not an IP address"),
        ("[[listener]]\naddress = \"::1\"\nport = 70000", "3:8: `port`: `70000` is not a port, 0 to 65535"),
        ("[[listener]]\naddress = \"::1\"\nprot = 1", "3:1: a listener has no `prot`; did you mean `port`?"),
        (
            "[[listener]]\naddress = \"::1\"\nmount_point = \"plant\"",
            "3:15: `mount_point`: `plant` does not end with `/`",
        ),
        ("[[listener]]\nport = 1", "1:1: this listener has no `address`"),
        ("[listener]\nport = 1", "1:1: write [[listener]], once for each"),
    ];
    for (text, expected) in cases {
        let mistakes = Settings::from_toml(text).unwrap_err();
        assert_eq!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected], "{text}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let mistakes = Settings::from_toml("workers = 2\nnode_name = \"open\nx = 1").unwrap_err();
    assert_eq!((mistakes[0].line, mistakes.len()), (2, 1), "{mistakes:?}");
    let mistakes = Settings::from_toml("workers = 2\nworkers = 3").unwrap_err();
    assert_eq!((mistakes[0].line, mistakes.len()), (2, 1), "{mistakes:?}");
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let mistakes = Settings::from_toml("zzz = 1\n[limits]\nbanana = 1\ninflight_max = 0").unwrap_err();
    assert_eq!(mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [1, 3, 4]);
}

#[test]
fn the_command_line_beats_the_file() {
    let file = "workers = 3\nnode_name = \"file\"\n[[listener]]\naddress = \"10.0.0.1\"\nport = 5\n";
    let file = Settings::from_toml(file).unwrap();
    let workers = Setting::named("workers").unwrap();
    let mut flags = Settings::default();
    flags.put(workers, workers.kind().parse("7").unwrap());
    let config = flags.clone().or(file.clone()).resolve();
    assert_eq!((config.workers, config.node_name.as_str()), (7, "file"));
    assert_eq!(config.listeners, [at("10.0.0.1:5")]);

    let mut port = flags.clone();
    port.set_port(6);
    assert_eq!(port.clone().or(file.clone()).resolve().listeners, [at("10.0.0.1:6")]);

    port.listen("[::1]:9".parse().unwrap());
    port.listen("127.0.0.1".parse().unwrap());
    assert_eq!(port.or(file).resolve().listeners, [at("[::1]:9"), at("127.0.0.1:6")]);
}

#[test]
fn the_port_alone_moves_the_loopback_listeners() {
    let mut flags = Settings::default();
    flags.set_port(2000);
    assert_eq!(flags.resolve().listeners, [at("127.0.0.1:2000"), at("[::1]:2000")]);
}

#[test]
fn a_listener_with_all_its_terms_as_a_file_says_the_same() {
    let text = r#"
[[listener]]
type = "ws"
address = "0.0.0.0"
tls_cert = ["a.pem", "b.pem"]
tls_key = ["a.key", "b.key"]
tls_ca = "ca.pem"
tls_crl = ["crl.pem"]
client_certificates = "optional"
tls_identity = "san"
tls_identity_as = "client_id"
path = "/broker"
origins = ["https://app.example/"]
trusted_proxies = ["10.0.0.0/8", "unix"]
proxy_protocol = true
versions = ["5", "3.1.1"]
connections_max = 10
mount_point = "plant/7/"

[[listener]]
socket = "/run/\"siskin\".sock"
mode = "0660"
"#;
    let config = resolved(text);
    let back = resolved(&config.to_toml());
    assert_eq!(back.listeners, config.listeners);
    let [web, unix] = &config.listeners[..] else { panic!("two listeners") };
    assert_eq!(web.to_string(), "MQTT over secure WebSocket on 0.0.0.0:8084");
    let tls = web.tls.as_ref().unwrap();
    assert_eq!((tls.certificates.len(), tls.crl.len(), web.connections_max), (2, 1, 10));
    assert_eq!(web.versions, [siskin_proto::Version::V3_1_1, siskin_proto::Version::V5]);
    assert_eq!(web.mount_point.as_ref().map(siskin_core::MountPoint::as_str), Some("plant/7/"));
    assert_eq!(unix.place, Place::Unix { path: "/run/\"siskin\".sock".into(), mode: Some(0o660) });
}

#[test]
fn terms_that_do_not_go_together_are_told_with_their_place() {
    for (keys, expected) in [
        ("tls_cert = \"a\"", "3:1: `tls_cert`: its private key is missing: `tls_key`"),
        ("tls_key = \"a\"", "3:1: `tls_key`: its certificate is missing: `tls_cert`"),
        ("tls_cert = [\"a\", \"b\"]\ntls_key = \"a\"", "4:1: `tls_key`: there are 2 certificates and 1 keys"),
        ("tls_ca = \"a\"", "3:1: `tls_ca`: it is for listeners with `tls_cert` and `tls_key`"),
        ("path = \"/\"", "3:1: `path`: it is for listeners with `type = \"ws\"`"),
        ("type = \"ws\"\npath = \"x\"", "4:8: `path`: `x` does not begin with /"),
        ("mode = \"0600\"", "3:1: `mode`: it is the mode of a `socket`"),
        ("socket = \"x\"", "3:1: `socket`: a listener has either an `address` or a `socket`"),
        ("tls_identity = \"cn\"", "3:1: `tls_identity`: there are no clients' certificates to take it from"),
        (
            "proxy_protocol = true\ntls_identity = \"dn\"",
            "4:1: `tls_identity`: a proxy tells the common name alone: `cn`",
        ),
        ("versions = [\"4\"]", "3:12: `versions`: `4` is not one of 3.1, 3.1.1, 5"),
        ("type = \"udp\"", "3:8: `type`: `udp` is not one of tcp, ws"),
        (
            "type = \"ws\"\ntrusted_proxies = \"x\"",
            "4:19: `trusted_proxies`: `x` is not an IP address, a network like 10.0.0.0/8, or `unix`",
        ),
    ] {
        let text = format!("[[listener]]\naddress = \"::1\"\n{keys}\n");
        let mistakes = Settings::from_toml(&text).unwrap_err();
        assert_eq!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected], "{text}");
    }
}

#[test]
fn a_port_of_another_kind_is_listened_on_at_the_same_addresses() {
    let mut flags = Settings::default();
    flags.listen("0.0.0.0".parse().unwrap());
    flags.add(Extra::WebSocket, 8083);
    flags.set_port(1);
    let file = Settings::from_toml("[[listener]]\ntype = \"ws\"\naddress = \"::1\"\n").unwrap();
    let listeners: Vec<_> = flags.clone().or(file.clone()).resolve().listeners;
    let shown: Vec<_> = listeners.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["MQTT on 0.0.0.0:1", "MQTT over WebSocket on 0.0.0.0:8083"]);
    let mut flags = Settings::default();
    flags.add(Extra::WebSocket, 9);
    let shown: Vec<_> = flags.or(file).resolve().listeners.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["MQTT over WebSocket on 127.0.0.1:9", "MQTT over WebSocket on [::1]:9"]);
}

#[test]
fn quotas_and_bans_as_a_file_say_the_same() {
    let text = r#"
[quota]
client_messages = 100
user_bytes = "1MiB"
excess = "disconnect"

[flapping]
client_connects = 15
ban = "10m"

[[listener]]
address = "10.0.0.1"
quota_messages = 5000
quota_bytes = "10MiB"
quota_connects = "unlimited"

[[ban]]
client = "loud \"one\""
reason = "too loud"

[[ban]]
address = "192.0.2.0/24"
until = 2030-12-31T23:59:58Z
"#;
    let config = resolved(text);
    assert_eq!((config.quota.client.messages, config.quota.user.bytes), (100, 1 << 20));
    assert_eq!((config.quota.excess, config.flapping.ban_ms), (Excess::Disconnect, 600_000));
    let quota = config.listeners[0].quota;
    assert_eq!((quota.messages, quota.bytes, quota.connects), (5000, 10 << 20, 0));
    let until = config.bans[1].until.map(siskin_core::Now::as_millis);
    assert_eq!((config.bans[0].until, until), (None, Some(1_924_991_998_000)));
    assert_eq!(config.bans[0].who, Banned::Client("loud \"one\"".to_owned()));
    let back = resolved(&config.to_toml());
    assert_eq!((back.quota, back.flapping), (config.quota, config.flapping));
    assert_eq!((back.listeners, back.bans), (config.listeners, config.bans));
}

#[test]
fn a_ban_says_what_is_wrong_with_it_and_where() {
    for (text, expected) in [
        ("[[ban]]\nreason = \"x\"", "1:1: this ban has no `client`, `user` or `address`"),
        (
            "[[ban]]\nclient = \"x\"\nuser = \"y\"",
            "3:1: a ban is about one client, user or address: write another",
        ),
        ("[[ban]]\nadress = \"x\"", "2:1: a ban has no `adress`; did you mean `address`?"),
        (
            "[[ban]]\naddress = \"x\"",
            "2:11: `address`: `x` is not an IP address, a network like 10.0.0.0/8, or `unix`",
        ),
        (
            "[[ban]]\nclient = \"x\"\nuntil = \"noon\"",
            "3:9: `until`: `noon` is not a date and time in UTC like 2030-12-31T12:00:00Z",
        ),
        ("[ban]\nclient = \"x\"", "1:1: write [[ban]], once for each"),
    ] {
        let mistakes = Settings::from_toml(text).unwrap_err();
        let shown: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(shown, [expected]);
    }
}
