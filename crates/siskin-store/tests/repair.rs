//! What a repair makes of damage: a journal that can be read, and an account of what it cost.

use siskin_core::store::{Batch, RecordId};
use siskin_store::sim::SimDevice;
use siskin_store::{Device as _, Frame, Journal, JournalOptions, Loss, inspect, repair};

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 5_000, spares_max: 1, seed: 9 };

/// Records 1 to 20, each in a frame, in three segments, closed.
fn journal() -> SimDevice {
    let device = SimDevice::new(3);
    let mut journal = open(&device).0;
    for number in 1..=20 {
        let mut batch = Batch::default();
        batch.put(RecordId::new(number).expect("not zero"), 1, |out| out.extend([number as u8; 60]));
        let mut frame = Frame::default();
        frame.push(&batch);
        journal.write(frame);
    }
    journal.close().expect("all is safe");
    device
}

fn open(device: &SimDevice) -> (Journal<SimDevice>, Vec<u64>) {
    let mut found = Vec::new();
    let opened = Journal::open(device.clone(), OPTIONS, &mut |_| {}, &mut |live| found.push(live.id.get()));
    (opened.expect("it opens").0, found)
}

#[test]
fn whatever_byte_is_damaged_a_repair_loses_little_and_says_what() {
    let device = journal();
    for name in device.list().expect("it can be listed") {
        let content = device.content(&name);
        for at in 0..content.len() {
            let damaged = device.copy();
            let mut bytes = content.clone();
            bytes[at] ^= 4;
            damaged.set_content(&name, &bytes);
            let sound = inspect(&damaged, &mut |_| {}).is_ok();
            let losses = repair(&damaged).expect("it can be repaired");
            assert_eq!(sound, losses.is_empty(), "{name} byte {at}");
            let (_, found) = open(&damaged);
            let lost = losses.iter().map(|loss| match loss {
                Loss::Frames { first, last, .. } => (last - first + 1) as usize,
                Loss::Header { .. } => 0,
                Loss::Segment { .. } => panic!("{loss}"),
            });
            assert_eq!(found.len() + lost.sum::<usize>(), 20, "{name} byte {at}: {losses:?}");
            assert!(found.len() >= 19);
            assert!(repair(&damaged).is_ok_and(|losses| losses.is_empty()), "{name}");
        }
    }
}

#[test]
fn a_missing_file_and_one_that_is_all_zero_cost_their_frames_only() {
    let device = journal();
    let mut names: Vec<_> = device
        .list()
        .expect("it can be listed")
        .into_iter()
        .filter(|name| name.ends_with(".journal"))
        .collect();
    names.sort();
    for name in &names[..names.len() - 1] {
        for zero in [false, true] {
            let damaged = device.copy();
            if zero {
                damaged.set_content(name, &[0; 5_000]);
            } else {
                damaged.remove(name).expect("it is there");
            }
            let losses = repair(&damaged).expect("it can be repaired");
            assert!(losses.contains(&Loss::Segment { path: damaged.path(name) }), "{losses:?}");
            let (mut journal, found) = open(&damaged);
            assert!(found.len() >= 11, "{found:?}");
            // And it goes on from there.
            journal.write(Frame::default());
            journal.close().expect("all is safe");
            assert_eq!(open(&damaged).1, found);
        }
    }
}

#[test]
fn a_repair_cut_short_can_be_done_again() {
    for operations in 0..12 {
        let device = journal();
        let mut content = device.content("00000002.journal");
        content[10] ^= 1;
        content[4200] ^= 1;
        device.set_content("00000002.journal", &content);
        device.remove("00000001.journal").expect("it is there");
        device.sync_directory().expect("it can");
        device.cut_power_after(operations);
        _ = repair(&device);
        device.crash();
        repair(&device).expect("it can be repaired");
        assert!(open(&device).1.len() >= 10);
    }
}
