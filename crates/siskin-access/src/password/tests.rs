//! Files and hashes that others wrote, and those of ours.

use super::{Change, Failed, Hash, NewHash, PasswordFile, hash_plain, remove, set};

/// All for the password `secret`.
const OTHERS: [&str; 7] = [SIX, SEVEN, SEVEN_LONG_SALT, ARGON2, ARGON2_OLD, GO_AUTH, GO_AUTH_256];

/// For the user and password of RFC 7677, `user` and `pencil`; computed with Python's hashlib and hmac.
const SCRAM: &str = "$scram-sha-256$4096$W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=$wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

// Written by mosquitto_passwd 2.0.11.
const SIX: &str = "$6$XVwWYOqFYcwQ7yX+$9eThkNkwjFVsywzmH1pc/DD177NB0oagQ10aJn6ydFFq7ojXgQlMCaOIgQymDAjtfT4GjHiPOguq7I/iciNlbA==";
const SEVEN: &str = "$7$101$mFNGEb6XB3vcqGG/$QygdNBpOBw3K2Wb+5nOydo+nEZksNl+5lZ6NKN014vi4zhoYzAxDw+cwXUh7BnGECICDyyi8Zw1xI+zpQzkBsA==";
// Made with Python's hashlib in the form that Mosquitto 2.1 writes.
const SEVEN_LONG_SALT: &str = "$7$1000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$j5aX3DstWRgO5cjjfvKvsf7Z/KK812T4wGDMih+DCHQg8P7++fmj4sZcMp1smkEafZL0QZ29tE5ezahL/nyffw==";
// Made with argon2-cffi: Mosquitto 2.1's parameters, and the algorithm's first version with two lanes.
const ARGON2: &str = "$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$jN8KVtBuy9rOg+xx4HEO7K//Ei2hf4aegEDgCD4okj4rugUys2dVUsAyHcBFDFrGlWl198NIEs4dtHiTXPgqvA";
const ARGON2_OLD: &str =
    "$argon2id$v=16$m=64,t=2,p=2$AAECAwQFBgcICQoLDA0ODw$hz8nUfqdLuWNEgI4/1r3uv/fAwc2S3SLR3teE6ew3bc";
// Made with Python's hashlib in the form of mosquitto-go-auth.
const GO_AUTH: &str = "PBKDF2$sha512$1000$AAECAwQFBgcICQoLDA0ODw==$8ltlLe5cI6KNrWOmMFkTi2iE7fEXJKJJR9lhjd/xSn68+xOqzv2h20C4IDv/enqlx8f6AaRHE+6XnvHKXKhAjA==";
const GO_AUTH_256: &str =
    "PBKDF2$sha256$1000$AAECAwQFBgcICQoLDA0ODw==$Tvsru20utY6o3q7VRBeuL9h/1QqKhWhwk2PaYNRWBgY=";

fn mistakes(text: impl AsRef<[u8]>) -> Vec<String> {
    PasswordFile::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn hashes_of_others_verify_their_password_only_and_are_written_as_they_were_read() {
    for text in OTHERS {
        let hash = Hash::decode(text).unwrap();
        assert!(hash.verify(b"secret"), "{text}");
        assert!(!hash.verify(b"Secret") && !hash.verify(b"") && !hash.verify(b"secret "), "{text}");
        assert_eq!(hash.encode(), text);
    }
}

#[test]
fn new_hashes_of_each_kind_come_back_from_their_text() {
    let kinds = [NewHash::Sha512, NewHash::Pbkdf2Sha512 { iterations: 3 }, NewHash::Argon2id];
    for (kind, prefix) in kinds.into_iter().zip(["$6$", "$7$3$", "$argon2id$v=19$m=47104,t=1,p=1$"]) {
        let hash = Hash::create(kind, b"p\xffw", &vec![7; kind.salt_len()]).unwrap();
        let text = hash.encode();
        assert!(text.starts_with(prefix), "{text}");
        let again = Hash::decode(&text).unwrap();
        assert!(again.verify(b"p\xffw") && !again.verify(b"pw"));
        let other = Hash::create(kind, b"p\xffw", &vec![8; kind.salt_len()]).unwrap();
        assert_ne!(other.encode(), text, "the salt counts");
        assert!(Hash::create(kind, b"pw", b"short").is_err());
    }
    let none = Hash::create(NewHash::Pbkdf2Sha512 { iterations: 0 }, b"pw", &[0; 12]).unwrap();
    assert!(none.encode().starts_with("$7$1$"));
}

#[test]
fn a_scram_hash_verifies_its_password_and_gives_the_keys() {
    let hash = Hash::decode(SCRAM).unwrap();
    assert!(hash.verify(b"pencil") && !hash.verify(b"Pencil"));
    assert_eq!(hash.encode(), SCRAM);
    let scram = hash.scram().unwrap();
    assert_eq!((scram.iterations, scram.salt.len()), (4096, 16));
    assert_eq!((scram.stored_key.len(), scram.server_key.len()), (32, 32));
    let same = Hash::create(NewHash::ScramSha256 { iterations: 1 }, b"pencil", scram.salt).unwrap();
    assert_eq!(same.encode(), SCRAM, "fewer iterations than the RFC allows are not to be had");
    assert!(Hash::decode(SIX).unwrap().scram().is_none());
}

#[test]
fn a_scram_hash_is_of_the_password_as_clients_prepare_it() {
    // The examples of RFC 4013 3, and what is prohibited there, which counts as it is.
    let created = |password: &str| {
        Hash::create(NewHash::ScramSha256 { iterations: 4096 }, password.as_bytes(), &[7; 16]).unwrap()
    };
    for (given, same) in
        [("I\u{ad}X", "IX"), ("\u{aa}", "a"), ("\u{2168}", "IX"), ("\u{a0}x", " x"), ("\u{7}", "\u{7}")]
    {
        assert!(created(given).verify(same.as_bytes()), "{given:?}");
        assert!(created(same).verify(given.as_bytes()), "{given:?}");
    }
    assert!(!created("user").verify(b"USER"));
}

#[test]
fn what_is_wrong_with_a_scram_hash_is_said() {
    let cases = [
        (
            "$scram-sha-256$0$AAECAwQFBgcICQoLDA0ODw==$a$a",
            "1:18: the iteration count of the hash must be a number from 1 to 10000000",
        ),
        (
            "$scram-sha-256$4096$AAECAwQFBgcICQoLDA0ODw==$AAEC$a",
            "1:48: the stored key of the hash has 3 bytes, not 32",
        ),
        ("$scram-sha-256$4096$AAECAwQFBgcICQoLDA0ODw==", "1:47: the stored key of the hash is missing"),
    ];
    for (hash, text) in cases {
        assert_eq!(mistakes(format!("u:{hash}")), [text], "{hash}");
    }
}

#[test]
fn a_file_is_read_as_mosquitto_reads_it() {
    let text =
        format!("# {SIX}\r\n\r\n  \nbob:{SEVEN}\r\n the boss \t: {SIX} \r\nnobody\nal::{SEVEN}:ignored:too");
    let file = PasswordFile::parse(&text).unwrap();
    assert_eq!(file.len(), 3);
    for user in ["bob", "the boss", "al"] {
        assert!(file.user(user).is_some_and(|hash| hash.verify(b"secret")), "{user}");
        assert!(file.verify(user, b"secret") && !file.verify(user, b"wrong"));
    }
    assert!(file.user("nobody").is_none() && file.user("# ").is_none());
    let warnings: Vec<_> = file.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["6:1: passed over: no colon between user name and hash"]);
}

#[test]
fn every_mistake_is_named_with_its_place_and_without_any_secret() {
    let text = format!(
        "bob:hunter2\n:{SIX}\nal:\ncy:$ecret\nbob:{SIX}\nbob:{SIX}\ndi:$7$0$AAAA$AAAA\ned:$7$101$!!!$AAAA\n\
         fi:$6$AAAAAAAAAAAAAAAA$AAAA\nö:$6$AAAA$AAAA\ngi:$6$AAAAAAAAAAAAAAAA\n  :x\n"
    );
    let expected = [
        "1:5: this is no hash but looks like the password itself; `siskin passwd -U FILE` hashes it",
        "2:1: the user name is missing",
        "3:4: the password's hash is missing",
        "4:4: a kind of hash that is not known: $7$, $6$, $argon2id$, $scram-sha-256$, PBKDF2$sha512$ or PBKDF2$sha256$",
        "6:1: user `bob` is in line 5 already",
        "7:7: the iteration count of the hash must be a number from 1 to 10000000",
        "8:11: the salt of the hash is not Base64",
        "9:24: the digest of the hash has 3 bytes, not 64",
        "10:6: the salt of the hash has 3 bytes, not 12 or 64",
        "11:23: the digest of the hash is missing",
        "12:1: the user name is missing",
    ];
    assert_eq!(mistakes(&text), expected);
    assert_eq!(mistakes(b"bob:\xff"), ["1:5: not UTF-8"]);
    assert_eq!(mistakes(b"bob:$6$\0"), ["1:8: a zero byte in the text"]);
    assert_eq!(
        mistakes(format!("{}:{SIX}", "a".repeat(65_536))),
        ["1:1: the user name is longer than 65535 bytes"]
    );
}

#[test]
fn argon2_parameters_are_checked_before_memory_is_taken() {
    let with =
        |parameters: &str| mistakes(format!("a:$argon2id${parameters}$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA"));
    assert_eq!(
        with("v=19$m=4294967295,t=1,p=1"),
        ["1:18: the memory (m) of the hash must be a number from 8 to 1048576"]
    );
    assert_eq!(
        with("v=19$m=64,t=0,p=1"),
        ["1:23: the number of passes (t) of the hash must be a number from 1 to 1000"]
    );
    assert_eq!(
        with("v=19$m=64,t=1,p=9"),
        ["1:27: the parallelism (p) of the hash must be a number from 1 to 8"]
    );
    assert_eq!(with("v=18$m=64,t=1,p=1"), ["1:15: the version of the hash must be a number from 16 to 19"]);
    assert_eq!(with("v=19$m=64,t=1"), ["1:26: the parallelism (p) of the hash is missing"]);
    assert_eq!(with("v=19$t=1,m=64,p=1"), ["1:18: the memory (m) of the hash is missing"]);
    assert!(
        Hash::decode("$argon2id$m=64,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAA").is_ok(),
        "the first version"
    );
}

#[test]
fn an_unknown_user_costs_what_a_known_one_does_and_is_never_let_in() {
    let file = PasswordFile::parse(format!("a:{SEVEN}\nb:{ARGON2}\n")).unwrap();
    let known = [file.attempt("a").cost_us(), file.attempt("b").cost_us()];
    assert!(known[0] < known[1]);
    let mut seen = Vec::new();
    for name in ["c", "d", "e", "f", "admin", ""] {
        let attempt = file.attempt(name);
        assert!(!attempt.verify(b"secret"), "{name}");
        assert!(known.contains(&attempt.cost_us()));
        assert_eq!(file.attempt(name).cost_us(), attempt.cost_us(), "the same each time");
        seen.push(attempt.cost_us());
    }
    assert!(known.iter().all(|cost| seen.contains(cost)), "unknown users look like all kinds of known ones");
    assert!(!PasswordFile::default().verify("a", b""));
}

#[test]
fn debug_output_tells_no_hash() {
    let file = PasswordFile::parse(format!("bob:{SEVEN}\n")).unwrap();
    let shown = format!("{file:?} {:?} {:?}", file.user("bob"), file.attempt("bob"));
    assert!(shown.contains("iterations: 101"), "{shown}");
    for part in SEVEN.split('$').filter(|part| part.len() > 3) {
        assert!(!shown.contains(part));
    }
    assert!(!shown.contains("bob"));
}

#[test]
fn setting_and_removing_a_user_leaves_every_other_byte_alone() {
    let hash = Hash::decode(SIX).unwrap();
    let before = "# bob: here\r\nal:x\r\n bob :old\n\nbad line\nbob2:y";
    let (text, change) = set(before.as_bytes(), "bob", &hash);
    assert_eq!(change, Change::Updated);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        format!("# bob: here\r\nal:x\r\nbob:{SIX}\n\nbad line\nbob2:y\n")
    );
    let (text, change) = set(b"al:x", "bob", &hash);
    assert_eq!((String::from_utf8(text).unwrap(), change), (format!("al:x\nbob:{SIX}\n"), Change::Added));
    assert_eq!(set(b"", "bob", &hash).0, format!("bob:{SIX}\n").into_bytes());

    assert_eq!(remove(before.as_bytes(), "bob").unwrap(), b"# bob: here\r\nal:x\r\n\nbad line\nbob2:y\n");
    assert_eq!(remove(before.as_bytes(), "bo"), None);
    assert_eq!(remove(b"a:1\nb:2\na:3\n", "a").unwrap(), b"b:2\n");
}

#[test]
fn plain_text_passwords_are_hashed_once() {
    let mut seen = Vec::new();
    let create = |password: &[u8]| {
        seen.push(password.to_vec());
        Hash::create(NewHash::Sha512, password, &[1; 12])
    };
    let (text, number) =
        hash_plain(format!("# c\nbob: pass word \r\nal:{SIX}\ncy:$ecret\n").as_bytes(), create).unwrap();
    assert_eq!((number, seen), (2, vec![b"pass word".to_vec(), b"$ecret".to_vec()]));
    let file = PasswordFile::parse(&text).unwrap();
    assert!(file.verify("bob", b"pass word") && file.verify("al", b"secret") && file.verify("cy", b"$ecret"));
    let again = hash_plain(&text, |_| Err("nothing to hash")).unwrap();
    assert_eq!(again, (text, 0));

    for (line, column) in [("bob", 1), (":x", 1), ("bob:", 5), ("bob: : ", 5)] {
        match hash_plain(line.as_bytes(), |_| Err(())) {
            Err(Failed::Mistake(mistake)) => {
                assert_eq!((mistake.line, mistake.column), (1, column), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}
