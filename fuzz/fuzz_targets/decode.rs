//! Any bytes, in each version: no panic, and what was decoded encodes to bytes that stay as they are when
//! they are decoded and encoded again.
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
        let again = decode(again, version).expect("what was encoded decodes");
        let mut same = Vec::new();
        again.encode(version, &mut same);
        assert_eq!(same, bytes, "{packet:?} became {again:?}");
    }
});
