//! How many clients a second each step lets in: `cargo run --release -p siskin-auth --example logins`
//!
//! The web server is in the same process and answers from one thread for each connection, so that HTTP costs both
//! sides. Nothing is cached.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example shows something and stops at what is wrong"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use siskin_access::password::{Hash, NewHash};
use siskin_auth::config::{CacheConfig, HttpConfig, JwtConfig, KeySource, StepConfig};
use siskin_auth::{Chain, Config, Request, Verdict};
use support::http::{Reply, Server};
use support::{Directory, login, password_file};

fn main() {
    let directory = Directory::new("logins");
    println!("{:<34} {:>8} {:>12} {:>12}", "step", "log-ins", "a second", "µs each");
    let local = Request { is_local: true, ..Request::new("phone") };
    measure("anonymous", Vec::new(), &local, 1_000_000);

    for (name, kind, log_ins) in [
        ("password file, Argon2id, 46 MiB", NewHash::Argon2id, 100),
        ("password file, PBKDF2, 1,000", NewHash::Pbkdf2Sha512 { iterations: 1_000 }, 3_000),
        ("password file, SHA-512", NewHash::Sha512, 200_000),
    ] {
        let hash = Hash::create(kind, b"secret", &vec![7; kind.salt_len()]).unwrap().encode();
        let file = directory.write("users", format!("bob:{hash}"));
        measure(name, vec![password_file(&file)], &login("bob", "secret"), log_ins);
    }

    let secret = "a secret of more than thirty-two bytes";
    let path = directory.write("secret", secret);
    let key = KeySource::Secret { path, is_base64: false };
    let token = token("HS256", |text| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text).as_ref().to_vec()
    });
    measure("JWT, HS256", jwt(key), &login("bob", &token), 200_000);

    let path = directory.write("rsa", include_str!("../tests/keys/rsa-public.pem"));
    let rsa = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("../tests/keys/rsa.pem")).unwrap();
    let rsa = RsaKeyPair::from_pkcs8(rsa.secret_pkcs8_der()).unwrap();
    let rs256 = self::token("RS256", |text| {
        let mut signature = vec![0; rsa.public().modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut signature).unwrap();
        signature
    });
    measure("JWT, RS256, 2,048 bits", jwt(KeySource::Pem { path }), &login("bob", &rs256), 50_000);

    let path = directory.write("p256", include_str!("../tests/keys/p256-public.pem"));
    let p256 = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("../tests/keys/p256.pem")).unwrap();
    let random = SystemRandom::new();
    let p256 =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, p256.secret_pkcs8_der(), &random).unwrap();
    let es256 = self::token("ES256", |text| p256.sign(&random, text).unwrap().as_ref().to_vec());
    measure("JWT, ES256", jwt(KeySource::Pem { path }), &login("bob", &es256), 20_000);

    let server = Server::start(|_| Reply::ok(r#"{"result": "allow"}"#));
    let http = |cache| {
        let config = HttpConfig { cache, ..HttpConfig::new(server.url("/auth")) };
        vec![StepConfig::Http(Box::new(config))]
    };
    measure("HTTP on this machine", http(CacheConfig::OFF), &login("bob", "secret"), 20_000);
    let cache = CacheConfig { allowed_s: 60, denied_s: 0, entries_max: 10 };
    measure("HTTP, remembered", http(cache), &login("bob", "secret"), 200_000);
}

/// Asks about one client again and again, so many at a time as there is room for.
fn measure(name: &str, steps: Vec<StepConfig>, client: &Request, log_ins: u32) {
    let chain =
        Chain::start(Config { steps, timeout: Duration::from_secs(600), ..Config::default() }).unwrap();
    let (sender, verdicts) = mpsc::channel();
    let start = Instant::now();
    let mut waiting = 0;
    for _ in 0..log_ins {
        let sender = sender.clone();
        chain.authenticate(client.clone(), move |verdict| sender.send(verdict).unwrap());
        waiting += 1;
        if waiting == WAITING_MAX {
            expect_allowed(&verdicts.recv().unwrap());
            waiting -= 1;
        }
    }
    (0..waiting).for_each(|_| expect_allowed(&verdicts.recv().unwrap()));
    let seconds = start.elapsed().as_secs_f64();
    let each = f64::from(log_ins);
    println!("{name:<34} {log_ins:>8} {:>12.0} {:>12.1}", each / seconds, seconds * 1e6 / each);
}

fn expect_allowed(verdict: &Verdict) {
    assert!(matches!(verdict, Verdict::Allowed(_)), "{verdict:?}");
}

fn jwt(key: KeySource) -> Vec<StepConfig> {
    vec![StepConfig::Jwt(Box::new(JwtConfig::new(vec![key])))]
}

fn token(algorithm: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let encode = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    let header = encode(format!(r#"{{"alg":"{algorithm}"}}"#).as_bytes());
    let signed = format!("{header}.{}", encode(br#"{"sub":"bob","exp":4000000000}"#));
    let signature = encode(&sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Fewer than may wait for a hash.
const WAITING_MAX: u32 = 256;
