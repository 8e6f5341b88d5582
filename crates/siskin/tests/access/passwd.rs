//! `siskin passwd`.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};
use siskin_access::password::PasswordFile;

use crate::{Directory, read, siskin};

fn users(path: &Path) -> PasswordFile {
    PasswordFile::parse(std::fs::read(path).unwrap()).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_user_is_added_to_a_new_file_changed_and_deleted() {
    let directory = Directory::new("life");
    let file = directory.file("users");
    let done = |said: &str| (0, said.to_owned(), String::new());
    assert_eq!(
        siskin(&[&"passwd", &"-c", &"-b", &file, &"bob", &"one"], ""),
        done("Adding password for user bob\n")
    );
    assert!(read(&file).starts_with("bob:$argon2id$v=19$m=47104,t=1,p=1$"));
    assert_eq!(mode(&file), 0o600);

    // A password may look like a flag.
    let quick = ["-H", "sha512-pbkdf2", "-I", "7"];
    let add =
        siskin(&[&"passwd", &quick[0], &quick[1], &quick[2], &quick[3], &"-b", &file, &"al", &"-b"], "");
    assert_eq!(add, done("Adding password for user al\n"));
    let change = siskin(&[&"passwd", &"-H", &"sha512", &"-b", &file, &"bob", &"two"], "");
    assert_eq!(change, done("Updating password for user bob\n"));
    let scram = siskin(&[&"passwd", &"-H", &"scram-sha-256", &"-b", &file, &"cy", &"three"], "");
    assert_eq!(scram, done("Adding password for user cy\n"));
    assert!(read(&file).contains("cy:$scram-sha-256$4096$") && users(&file).verify("cy", b"three"));
    let found = users(&file);
    assert!(found.verify("bob", b"two") && !found.verify("bob", b"one") && found.verify("al", b"-b"));
    let text = read(&file);
    assert!(text.starts_with("bob:$6$") && text.contains("\nal:$7$7$"), "{text}");

    assert_eq!(siskin(&[&"passwd", &"-D", &file, &"bob"], ""), done(""));
    assert!(read(&file).starts_with("al:"));
    let gone = siskin(&[&"passwd", &"-D", &file, &"bob"], "");
    assert_eq!(gone, (1, String::new(), "Warning: User bob not found in password file.\n".to_owned()));
    assert_eq!(directory.names(), ["users"], "nothing is left beside it");
}

#[test]
fn a_password_is_asked_for_twice() {
    let directory = Directory::new("asked");
    let file = directory.with("users", "# ours\n");
    let ask = |typed: &str| siskin(&[&"passwd", &"-H", &"sha512", &file, &"bob"], typed);
    let asked = "Password: \nReenter password: \n".to_owned();
    assert_eq!(ask("one\ntwo\n"), (2, asked.clone(), "Error: Passwords do not match.\n".to_owned()));
    assert_eq!(ask("\n"), (1, "Password: \n".to_owned(), "Error: Empty password.\n".to_owned()));
    assert_eq!(ask(""), (1, "Password: \n".to_owned(), "Error: Empty password.\n".to_owned()));
    assert_eq!(read(&file), "# ours\n", "a refused password changes nothing");
    assert_eq!(ask("p w\r\np w"), (0, asked + "Adding password for user bob\n", String::new()));
    assert!(users(&file).verify("bob", b"p w"));
    let long = "x".repeat(65_536);
    assert_eq!(ask(&format!("{long}\n{long}\n")).0, 1);
}

#[test]
fn a_terminal_does_not_show_the_password() {
    let directory = Directory::new("terminal");
    let file = directory.file("users");
    let mut terminal = Terminal::new();
    assert!(terminal.shows());
    let mut child = terminal.siskin_passwd(&file);
    for question in ["Password: ", "Reenter password: "] {
        terminal.read_until(question);
        assert!(!terminal.shows());
        terminal.outside.write_all(b"secret\n").unwrap();
    }
    terminal.read_until("user bob\r\n");
    assert!(child.wait().unwrap().success() && terminal.shows());
    let shown = "Password: \r\nReenter password: \r\nAdding password for user bob\r\n";
    assert_eq!(terminal.shown, shown);
    assert!(users(&file).verify("bob", b"secret"));
}

#[test]
fn a_terminal_shows_again_what_is_typed_after_a_signal() {
    let directory = Directory::new("signal");
    let file = directory.file("users");
    let mut terminal = Terminal::new();
    let mut child = terminal.siskin_passwd(&file);
    terminal.read_until("Password: ");
    assert!(!terminal.shows());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(terminal.shows());
    assert!(directory.names().is_empty());
}

/// Both ends of a terminal, and what was shown on it.
struct Terminal {
    inside: File,
    outside: File,
    shown: String,
}

impl Terminal {
    fn new() -> Self {
        let outside = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&outside).unwrap();
        unlockpt(&outside).unwrap();
        let name = ptsname(&outside, Vec::new()).unwrap();
        let inside = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        Self { inside: inside.into(), outside: outside.into(), shown: String::new() }
    }

    fn siskin_passwd(&self, file: &Path) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
        command.args(["passwd", "-H", "sha512", "-c"]).arg(file).arg("bob");
        let inside = || self.inside.try_clone().unwrap();
        command.stdin(inside()).stdout(inside()).spawn().unwrap()
    }

    fn read_until(&mut self, end: &str) {
        while !self.shown.ends_with(end) {
            let mut bytes = [0; 256];
            let len = self.outside.read(&mut bytes).unwrap();
            self.shown.push_str(std::str::from_utf8(&bytes[..len]).unwrap());
        }
    }

    fn shows(&self) -> bool {
        tcgetattr(&self.inside).unwrap().local_modes.contains(LocalModes::ECHO)
    }
}

#[test]
fn mode_link_and_other_lines_survive_a_change() {
    let directory = Directory::new("kept");
    let file = directory.with("users", "# ours\r\nold:x\n");
    std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let link = directory.file("link");
    symlink(&file, &link).unwrap();
    assert_eq!(siskin(&[&"passwd", &"-H", &"sha512", &"-b", &link, &"bob", &"pw"], "").0, 0);
    assert!(read(&file).starts_with("# ours\r\nold:x\nbob:$6$"));
    assert_eq!(mode(&file), 0o640);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(directory.names(), ["link", "users"]);
}

#[test]
fn plain_text_passwords_are_hashed_once_and_only_once() {
    let directory = Directory::new("plain");
    let file = directory.with("users", "# ours\nbob:one\nal:two\n");
    let update = || siskin(&[&"passwd", &"-H", &"sha512-pbkdf2", &"-U", &file], "");
    assert_eq!(update(), (0, String::new(), String::new()));
    let text = read(&file);
    assert!(text.starts_with("# ours\nbob:$7$1000$"), "{text}");
    let found = users(&file);
    assert!(found.verify("bob", b"one") && found.verify("al", b"two"));
    assert_eq!(update().0, 0);
    assert_eq!(read(&file), text);

    let bad = directory.with("bad", "bob:one\nal:\n");
    let failed = format!("Error: {}:2:4: the password's hash is missing\n", bad.display());
    assert_eq!(siskin(&[&"passwd", &"-U", &bad], ""), (1, String::new(), failed));
    assert_eq!(read(&bad), "bob:one\nal:\n");
}

#[test]
fn a_new_file_takes_the_place_of_none_and_may_be_standard_output() {
    let directory = Directory::new("new");
    let file = directory.with("users", "precious");
    let (status, _, complaint) = siskin(&[&"passwd", &"-c", &"-b", &file, &"bob", &"pw"], "");
    assert!(status == 1 && complaint.starts_with("Error: Unable to create password file "), "{complaint}");
    assert_eq!(read(&file), "precious");
    let (status, line, _) = siskin(&[&"passwd", &"-H", &"sha512", &"-c", &"-b", &"-", &"bob", &"pw"], "");
    assert!(status == 0 && PasswordFile::parse(&line).unwrap().verify("bob", b"pw"), "{line}");
    let (status, _, complaint) = siskin(&[&"passwd", &"-b", &directory.file("none"), &"bob", &"pw"], "");
    assert!(status == 1 && complaint.starts_with("Error: Unable to open password file "), "{complaint}");
}

#[test]
fn wrong_use_ends_with_status_1_and_changes_nothing() {
    let directory = Directory::new("wrong");
    let file = directory.with("users", "a:b\n");
    let name = file.to_str().unwrap();
    for words in [
        &[][..],
        &[name],
        &["-b", name, "bob"],
        &[name, "bob", "pw"],
        &["-c", "-D", name, "bob"],
        &["-b", "-D", name, "bob"],
        &["-U", "-D", name],
        &["-U", name, "bob"],
        &["-H", "md5", "-b", name, "bob", "pw"],
        &["-I", "0", "-b", name, "bob", "pw"],
        &["-x", "-b", name, "bob", "pw"],
        &["-b", name, "b:b", "pw"],
        &["-b", name, "", "pw"],
        &["-b", name, " bob", "pw"],
        &["-b", name, "b\nb", "pw"],
        &["-b", name, "#bob", "pw"],
    ] {
        let mut args: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"passwd"];
        args.extend(words.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>));
        let (status, said, complaint) = siskin(&args, "");
        assert_eq!((status, said.as_str()), (1, ""), "{words:?}");
        assert!(!complaint.is_empty(), "{words:?}");
    }
    assert_eq!(read(&file), "a:b\n");
    assert_eq!(siskin(&[&"passwd", &"--help"], "").0, 0);
}
