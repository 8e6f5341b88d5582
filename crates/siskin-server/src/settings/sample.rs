//! The settings as texts for people: a sample file to begin with, and the manual's page.

use std::fmt::Write as _;

use super::{AUTH_KEYS, BAN_KEYS, LISTENER_KEYS, SETTINGS, Setting, listener};
use crate::config::Config;

/// A configuration file in which every setting stands with its default and its meaning, commented out: a line of
/// words begins with `# `, one to be uncommented with `#` alone.
pub fn sample() -> String {
    let mut text = INTRODUCTION.to_owned();
    let mut section = "";
    for setting in SETTINGS {
        let (its_section, key) = setting.section_and_key();
        if its_section != section {
            section = its_section;
            let _ = writeln!(text, "\n[{section}]");
        }
        let value = setting.kind().show_toml(&setting.default());
        let restart = if setting.reloads { "" } else { " A change needs a restart." };
        let _ = writeln!(text, "\n# {}.\n# Values: {}.{restart}", setting.help, setting.kind().allowed());
        let _ = writeln!(text, "#{key} = {value}");
    }
    for table in TABLES {
        let _ = write!(text, "\n# [[{}]]: {}.\n#\n", table.name, table.help);
        for (key, help) in (table.keys)() {
            let _ = writeln!(text, "# {key}: {help}.");
        }
        text.push_str("#\n# For example:\n");
        for line in table.example.lines() {
            let _ = writeln!(text, "{}", format!("#   {line}").trim_end());
        }
    }
    text.push_str("\n# Without any [[listener]] there are these:\n");
    for listener in Config::default().listeners {
        text.push('\n');
        for line in listener::to_toml(&listener).lines() {
            let _ = writeln!(text, "#{line}");
        }
    }
    text
}

/// The manual's page on settings, as Markdown.
pub fn manual() -> String {
    let mut text = MANUAL.to_owned();
    let mut section = None;
    for setting in SETTINGS {
        let (its_section, key) = setting.section_and_key();
        if section != Some(its_section) {
            section = Some(its_section);
            let title = if its_section.is_empty() {
                "Outside of sections".into()
            } else {
                format!("`[{its_section}]`")
            };
            let _ = write!(text, "\n## {title}\n\n{HEAD}");
        }
        let _ = writeln!(text, "{}", row(setting, key));
    }
    for table in TABLES {
        let _ =
            write!(text, "\n## `[[{}]]`\n\n{}.\n\n| key | meaning |\n|---|---|\n", table.name, table.help);
        for (key, help) in (table.keys)() {
            let _ = writeln!(text, "| `{key}` | {} |", cell(&help));
        }
        let _ = write!(text, "\n```toml\n{}```\n", table.example);
    }
    text
}

fn row(setting: &Setting, key: &str) -> String {
    let default = setting.kind().show(&setting.default());
    let values = cell(&setting.kind().allowed());
    let change = if setting.reloads { "at once" } else { "restart" };
    let help = cell(setting.help);
    format!("| `{key}` | `--{}` | {values} | `{default}` | {change} | {help} |", setting.flag())
}

/// Text that may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A table that may be there any number of times.
struct Table {
    name: &'static str,
    help: &'static str,
    keys: fn() -> Vec<(&'static str, String)>,
    /// A whole file that uses it.
    example: &'static str,
}

const TABLES: [Table; 3] = [
    Table {
        name: "auth",
        help: "Who is asked about a client after access.password_file, step by step in this order",
        keys: || {
            let key = |(key, kinds, help): &(&'static str, &str, &str)| (*key, format!("({kinds}) {help}"));
            AUTH_KEYS.iter().map(key).collect()
        },
        example: "\
[[auth]]
type = \"http\"
url = \"https://users.example/mqtt\"
",
    },
    Table {
        name: "ban",
        help: "Who may not connect; one of client, user and address",
        keys: || BAN_KEYS.map(|(key, help)| (key, help.to_owned())).to_vec(),
        example: "\
[[ban]]
address = \"203.0.113.0/24\"
reason = \"a scan\"
until = 2030-12-31T12:00:00Z
",
    },
    Table {
        name: "listener",
        help: "Where clients come in, and on which terms",
        keys: || LISTENER_KEYS.map(|(key, help)| (key, help.to_owned())).to_vec(),
        example: "\
[[listener]]
address = \"0.0.0.0\"
tls_cert = \"/etc/siskin/server.pem\"
tls_key = \"/etc/siskin/server.key\"

[[listener]]
type = \"ws\"
address = \"127.0.0.1\"
origins = [\"https://app.example\"]

[[listener]]
socket = \"/run/siskin/mqtt.sock\"
mode = \"0660\"
",
    },
];

const INTRODUCTION: &str = "\
# A configuration file of Siskin. Everything in it is commented out and shows what holds without it.
# Sizes are written like 512, 64KiB or 16MiB; times like 200ms, 10s, 5m, 2h or 30d.
#
#   siskin check -c FILE   says what is wrong with a file, and where
#   siskin serve -c FILE   runs the broker with it
";

const MANUAL: &str = "\
# Settings

Every setting is a line of the configuration file and a flag of `siskin serve`; flags go before the file, the file before
the defaults. `siskin serve --print-config` prints a file with all of them, `siskin check` says how they will be.
Sizes are written like `512`, `64KiB` or `16MiB`, times like `200ms`, `10s`, `5m`, `2h` or `30d`. What a change needs to
come into force stands under *change*.
";

const HEAD: &str = "| key | flag | values | default | change | meaning |\n|---|---|---|---|---|---|\n";

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::super::{Settings, tests::values};
    use super::*;

    fn is_words(line: &str) -> bool {
        line == "#" || line.starts_with("# ")
    }

    fn assert_defaults(text: &str) {
        let config = Settings::from_toml(text).unwrap().resolve();
        assert_eq!(values(&config), values(&Config::default()));
        assert_eq!(config.listeners, Config::default().listeners);
        assert!(config.bans.is_empty() && config.access.auth.is_empty());
    }

    #[test]
    fn the_sample_file_means_the_defaults() {
        assert_defaults(&sample());
    }

    #[test]
    fn the_sample_file_with_everything_uncommented_means_the_defaults_and_names_every_setting() {
        let lines = sample().lines().filter(|line| !is_words(line)).fold(String::new(), |all, line| {
            let line = line.strip_prefix('#').unwrap_or(line);
            all + line + "\n"
        });
        assert_defaults(&lines);
        let whole = DeTable::parse(&lines).unwrap().into_inner();
        for setting in SETTINGS {
            let (section, key) = setting.section_and_key();
            let section =
                if section.is_empty() { &whole } else { whole[section].get_ref().as_table().unwrap() };
            assert!(section.contains_key(key), "{}", setting.name);
        }
    }

    #[test]
    fn every_example_is_a_configuration() {
        for table in TABLES {
            Settings::from_toml(table.example).unwrap();
        }
    }

    #[test]
    fn the_manual_is_as_the_settings_are() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
        if std::env::var_os("SISKIN_WRITE_MANUAL").is_some() {
            std::fs::write(path, manual()).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap();
        assert!(
            there == manual(),
            "docs/settings.md is stale: SISKIN_WRITE_MANUAL=1 cargo test -p siskin-server the_manual"
        );
    }
}
