//! What the tests have in common: a chain that is asked and waited for, files that go away, and a web server.

#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod http;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use siskin_auth::config::{PasswordFileConfig, StepConfig};
use siskin_auth::{Chain, Config, Identity, Refusal, Request, Secret, Verdict};

/// A directory that goes away.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("siskin-auth-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The verdict on a client, waited for.
pub(crate) fn verdict(chain: &Chain, request: Request) -> Verdict {
    let (sender, receiver) = mpsc::channel();
    chain.authenticate(request, move |verdict| sender.send(verdict).unwrap());
    receiver.recv().unwrap()
}

pub(crate) fn allowed(chain: &Chain, request: Request) -> Identity {
    match verdict(chain, request) {
        Verdict::Allowed(identity) => *identity,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refused(chain: &Chain, request: Request) -> Refusal {
    match verdict(chain, request) {
        Verdict::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn chain(steps: Vec<StepConfig>) -> Chain {
    Chain::start(Config { steps, ..Config::default() }).unwrap()
}

/// A client that logs in by name and password.
pub(crate) fn login(user: &str, password: &str) -> Request {
    Request {
        user_name: Some(user.into()),
        password: Some(Secret::new(password)),
        peer: Some("192.0.2.7:4711".parse().unwrap()),
        ..Request::new("phone")
    }
}

pub(crate) fn password_file(path: &Path) -> StepConfig {
    StepConfig::PasswordFile(PasswordFileConfig::new(path))
}

/// The password is `secret`. Written by mosquitto_passwd 2.0.11.
pub(crate) const SEVEN: &str = "$7$101$mFNGEb6XB3vcqGG/$QygdNBpOBw3K2Wb+5nOydo+nEZksNl+5lZ6NKN014vi4zhoYzAxDw+cwXUh7BnGECICDyyi8Zw1xI+zpQzkBsA==";

/// The same with Mosquitto 2.1's parameters of Argon2id: 46 MiB.
pub(crate) const ARGON2: &str = "$argon2id$v=19$m=47104,t=1,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$jN8KVtBuy9rOg+xx4HEO7K//Ei2hf4aegEDgCD4okj4rugUys2dVUsAyHcBFDFrGlWl198NIEs4dtHiTXPgqvA";
