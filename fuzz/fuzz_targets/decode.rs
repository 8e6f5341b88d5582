//! Any bytes, in each version: no panic, and what was decoded encodes to a packet that decodes the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use siskin_proto::{FrameStatus, Version, decode, frame};

fuzz_target!(|data: &[u8]| {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let Ok(FrameStatus::Complete(whole)) = frame(data, u32::MAX) else { return };
        let Ok(packet) = decode(whole, version) else { continue };
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes);
        assert_eq!(bytes.len(), packet.encoded_len(version));
        let Ok(FrameStatus::Complete(again)) = frame(&bytes, u32::MAX) else {
            panic!("{packet:?} does not encode to a frame")
        };
        assert_eq!(decode(again, version).as_ref(), Ok(&packet));
    }
});
