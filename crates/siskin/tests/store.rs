//! `siskin store`, run as a user runs it.

use std::path::PathBuf;
use std::process::{Command, Output};

use siskin_core::store::{Batch, RecordId, Store as _};
use siskin_store::{DiskStore, Options};

/// A directory that goes with its test.
struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

const OPTIONS: Options = Options {
    durability: siskin_core::store::Durability::Synced,
    segment_bytes: 64 * 1024,
    pending_bytes_max: 1024 * 1024,
    idle_after: std::time::Duration::from_secs(1),
    pause: std::time::Duration::from_secs(1),
};

/// A store with ten records, the second in a frame of its own.
fn store(name: &str) -> (Directory, DiskStore) {
    let path = std::env::temp_dir().join(format!("siskin-store-cli-{}-{name}", std::process::id()));
    _ = std::fs::remove_dir_all(&path);
    let opened = DiskStore::open(&path, OPTIONS, |_| {}).expect("it opens");
    let store = opened.start(|_| {}).expect("threads can be started");
    let mut batch = Batch::default();
    for number in 1..=10 {
        batch.put(RecordId::new(number).expect("not zero"), 2, |out| out.extend_from_slice(b"some body"));
    }
    batch.release(RecordId::new(3).expect("not zero"), 0);
    batch.note(RecordId::new(3).expect("not zero"), 1, 9);
    store.append(0, &mut batch);
    (Directory(path), store)
}

fn siskin(arguments: &[&str], directory: &Directory) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
    command.arg("store").args(arguments).arg(&directory.0).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_sound_store_is_checked_counted_and_dumped() {
    let (directory, store) = store("sound");
    drop(store);
    let check = siskin(&["check"], &directory);
    assert!(check.status.success(), "{}", text(&check.stderr));
    assert!(text(&check.stdout).starts_with("sound: 10 records"), "{}", text(&check.stdout));
    let stats = text(&siskin(&["stats"], &directory).stdout);
    assert!(stats.contains("references held   19\n"), "{stats}");
    let dump = text(&siskin(&["dump"], &directory).stdout);
    assert_eq!(dump.lines().count(), 10);
    assert!(dump.contains("#3  held 1:9  9 bytes  no record"), "{dump}");
}

#[test]
fn a_running_broker_is_left_alone() {
    let (directory, store) = store("running");
    for command in ["check", "stats", "dump", "repair"] {
        let output = siskin(&[command], &directory);
        assert!(!output.status.success());
        let said = text(&output.stderr);
        assert!(
            said.contains(&format!("is in use by the process {}", std::process::id())),
            "{command}: {said}"
        );
    }
    drop(store);
}

#[test]
fn damage_is_named_and_repaired_only_when_the_loss_is_accepted() {
    let (directory, store) = store("damaged");
    drop(store);
    let segment = directory.0.join("00000001.journal");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[4096 + 50] ^= 1;
    std::fs::write(&segment, &bytes).expect("it can be written");
    for arguments in [&["check"][..], &["repair"]] {
        let output = siskin(arguments, &directory);
        assert!(!output.status.success());
        let said = text(&output.stderr);
        assert!(said.contains("00000001.journal is damaged at byte 4096: frame 1"), "{said}");
        assert_eq!(std::fs::read(&segment).expect("it is there"), bytes, "nothing was changed");
    }
    let repaired = siskin(&["repair", "--accept-loss"], &directory);
    assert!(repaired.status.success(), "{}", text(&repaired.stderr));
    let said = text(&repaired.stdout);
    assert!(said.contains("frame 1 at byte 4096 is lost"), "{said}");
    assert!(siskin(&["check"], &directory).status.success());
}

#[test]
fn a_directory_that_is_not_there_is_named_and_not_made() {
    let directory = Directory(std::env::temp_dir().join(format!("siskin-store-none-{}", std::process::id())));
    for arguments in [&["check"][..], &["repair", "--accept-loss"]] {
        let output = siskin(arguments, &directory);
        assert!(!output.status.success());
        assert!(text(&output.stderr).contains(&directory.0.display().to_string()));
        assert!(!directory.0.exists());
    }
}
