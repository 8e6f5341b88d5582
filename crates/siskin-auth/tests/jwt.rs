//! Tokens with real keys: good ones, wrong ones, and keys that come over the network.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use siskin_auth::config::{JwtConfig, KeySource, StepConfig, TokenIn};
use siskin_auth::{Action, Chain, Clock, Config, Hand, Request, Subject};
use siskin_proto::Reason;
use support::http::{Reply, Server};
use support::{Directory, SEVEN, allowed, login, password_file, refused};

#[test]
fn the_tokens_of_the_rfc_are_believed() {
    // RFC 7515, appendices A.1 and A.3; they expire at 1300819380.
    let hs256 = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let es256 = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let directory = Directory::new("rfc");
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let secret = KeySource::Secret { path: directory.write("secret", secret), is_base64: true };
    let set = json!({"keys": [{"kty": "EC", "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]});
    let set = KeySource::JwksFile { path: directory.write("set", set.to_string()) };
    let config =
        JwtConfig { issuers: vec!["joe".to_owned()], leeway_s: 0, ..JwtConfig::new(vec![secret, set]) };
    let (chain, hand) = start(config, 1_300_819_379);
    for token in [hs256, es256] {
        let identity = allowed(&chain, login("bob", token));
        assert_eq!((identity.expires_at, identity.user_name.as_deref()), (Some(1_300_819_380), Some("bob")));
    }
    hand.advance_s(1);
    for token in [hs256, es256] {
        let refusal = refused(&chain, login("bob", token));
        assert_eq!(refusal.why, "jwt: the token has expired (`exp` 1300819380, now 1300819380)");
    }
}

#[test]
fn tokens_that_openssl_has_signed_are_believed() {
    let directory = Directory::new("openssl");
    let (chain, _) = start(JwtConfig::new(vec![pem(&directory, "rsa")]), 1_300_819_000);
    for token in [include_str!("keys/rs256.jwt"), include_str!("keys/ps256.jwt")] {
        allowed(&chain, login("bob", token.trim()));
    }
}

#[test]
fn each_algorithm_counts_with_a_key_of_its_kind() {
    let directory = Directory::new("kinds");
    let (chain, _) = start(JwtConfig::new(all_keys(&directory)), NOW);
    for algorithm in ALGORITHMS {
        let token = token(algorithm, &json!({"exp": NOW + 1}));
        assert_eq!(&*allowed(&chain, login("bob", &token)).by, "jwt", "{algorithm}");
        // One bit of the signature, which no Base64 can lose.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
        signature[5] ^= 1;
        let forged = format!("{signed}.{}", encode(&signature));
        let refusal = refused(&chain, login("bob", &forged));
        assert!(refusal.why.contains("no key that has signed the token"), "{algorithm}: {refusal}");
    }
}

#[test]
fn the_public_key_of_a_certificate_is_as_good() {
    let directory = Directory::new("certificate");
    let path = directory.write("certificate", include_str!("keys/p256-certificate.pem"));
    let (chain, _) = start(JwtConfig::new(vec![KeySource::Pem { path }]), NOW);
    allowed(&chain, login("bob", &token("ES256", &json!({"exp": NOW + 1}))));
}

#[test]
fn a_token_cannot_choose_how_it_is_verified() {
    let directory = Directory::new("confusion");
    let claims = encode(json!({"exp": NOW + 1}).to_string());
    for (name, kind) in [("rsa", "RS256"), ("p256", "ES256"), ("p384", "ES384"), ("ed25519", "EdDSA")] {
        let (chain, _) = start(JwtConfig::new(vec![pem(&directory, name)]), NOW);
        allowed(&chain, login("bob", &token(kind, &json!({"exp": NOW + 1}))));
        // The public key, which everybody may know, as if it were a secret.
        let public = public_pem(name);
        let der = rustls::pki_types::SubjectPublicKeyInfoDer::from_pem_slice(public.as_bytes()).unwrap();
        for secret in [public.as_bytes(), public.trim_end().as_bytes(), &der] {
            let signed = format!("{}.{claims}", encode(r#"{"alg":"HS256"}"#));
            let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
            let refusal = refused(&chain, login("bob", &format!("{signed}.{}", encode(signature.as_ref()))));
            assert_eq!(refusal.reason, Reason::BadUserNameOrPassword, "{name}");
        }
        for other in ALGORITHMS.iter().filter(|other| **other != kind && !other.ends_with(&kind[1..])) {
            let is_same_key = name == "rsa" && (other.starts_with("RS") || other.starts_with("PS"));
            if !is_same_key {
                refused(&chain, login("bob", &token(other, &json!({"exp": NOW + 1}))));
            }
        }
    }
}

#[test]
fn a_token_without_a_signature_is_none() {
    let directory = Directory::new("none");
    let (chain, _) = start(JwtConfig::new(all_keys(&directory)), NOW);
    let claims = encode(json!({"exp": NOW + 1}).to_string());
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let header = encode(json!({ "alg": algorithm }).to_string());
        for signature in ["", "AAAA"] {
            let refusal = refused(&chain, login("bob", &format!("{header}.{claims}.{signature}")));
            assert!(refusal.why.ends_with("is not allowed"), "{refusal}");
        }
    }
    // An empty signature under a good name.
    for algorithm in ALGORITHMS {
        let header = encode(json!({ "alg": algorithm }).to_string());
        refused(&chain, login("bob", &format!("{header}.{claims}.")));
    }
}

#[test]
fn headers_that_nobody_understands_are_refused() {
    let directory = Directory::new("headers");
    let (chain, _) = start(JwtConfig::new(vec![secret(&directory)]), NOW);
    let claims = json!({"exp": NOW + 1});
    for (header, why) in [
        (
            json!({"alg": "HS256", "crit": ["b64"], "b64": false}),
            "jwt: the token has critical extensions (`crit`)",
        ),
        (json!({"alg": "HS256", "kid": 7}), "jwt: the token's `kid` is no text"),
        (json!({"alg": "ES512"}), "jwt: the algorithm `ES512` is not allowed"),
    ] {
        assert_eq!(refused(&chain, login("bob", &signed(&header, "HS256", &claims))).why, why);
    }
    // A key that the token brings along is not looked at.
    let own =
        json!({"alg": "HS256", "jwk": {"kty": "oct", "k": encode("mine")}, "jku": "http://127.0.0.1:1/"});
    allowed(&chain, login("bob", &signed(&own, "HS256", &claims)));
}

#[test]
fn claims_must_be_as_they_are_wanted() {
    let directory = Directory::new("claims");
    let config = JwtConfig {
        issuers: vec!["home".to_owned(), "work".to_owned()],
        audiences: vec!["broker".to_owned()],
        claims: vec![("device".to_owned(), "%c".to_owned()), ("role".to_owned(), "sensor".to_owned())],
        user_name_claim: Some("sub".to_owned()),
        client_id_claim: Some("cid".to_owned()),
        superuser_claim: Some("root".to_owned()),
        ..JwtConfig::new(vec![secret(&directory)])
    };
    let (chain, _) = start(config, NOW);
    let good = json!({"iss": "work", "aud": ["other", "broker"], "device": "phone", "role": "sensor",
        "sub": "bob", "cid": "phone", "exp": NOW + 100, "nbf": NOW - 5});
    let identity = allowed(&chain, login("ignored", &token("HS256", &good)));
    assert_eq!(identity.user_name.as_deref(), Some("bob"));
    assert_eq!((identity.expires_at, identity.is_superuser), (Some(NOW + 130), false));
    let fine = [("aud", json!("broker")), ("exp", json!(NOW as f64 - 29.5)), ("nbf", json!(NOW + 30))];
    for (claim, value) in fine {
        let mut claims = good.clone();
        claims[claim] = value;
        allowed(&chain, login("bob", &token("HS256", &claims)));
    }
    let wrong = [
        ("iss", json!("elsewhere"), "the token's issuer (`iss`) is another"),
        ("iss", Value::Null, "the token's claim `iss` is no text"),
        ("aud", json!("other"), "the token is for another audience (`aud`)"),
        ("aud", json!([]), "the token is for another audience (`aud`)"),
        ("device", json!("tablet"), "the token's claim `device` is not what it must be"),
        ("role", json!(["sensor"]), "the token's claim `role` is not what it must be"),
        ("cid", json!("tablet"), "the token's claim `cid` is another client id"),
        ("sub", json!(7), "the token's claim `sub` is no text"),
        ("sub", json!(""), "the token's claim `sub` is no user name"),
        ("exp", json!(NOW - 30), "the token has expired (`exp` 1799999970, now 1800000000)"),
        ("exp", json!(-1), "the token has expired (`exp` 0, now 1800000000)"),
        ("exp", json!("tomorrow"), "the token's claim `exp` is no number of seconds since 1970"),
        ("nbf", json!(NOW + 31), "the token does not count yet (`nbf` 1800000031, now 1800000000)"),
        ("nbf", json!("now"), "the token's claim `nbf` is no number of seconds since 1970"),
        ("root", json!("yes"), "the token's claim `root` is neither true nor false"),
        ("acl", json!("all"), "the token: `acl` is neither an object nor an array"),
    ];
    for (claim, value, why) in wrong {
        let mut claims = good.clone();
        claims[claim] = value;
        let refusal = refused(&chain, login("bob", &token("HS256", &claims)));
        assert_eq!((refusal.why, refusal.reason), (format!("jwt: {why}"), Reason::BadUserNameOrPassword));
    }
    for (claim, why) in [
        ("iss", "the token's issuer (`iss`) is another"),
        ("aud", "the token is for another audience (`aud`)"),
        ("exp", "the token never expires (it has no `exp`)"),
        ("sub", "the token has no claim `sub`, the user name"),
    ] {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(claim);
        assert_eq!(refused(&chain, login("bob", &token("HS256", &claims))).why, format!("jwt: {why}"));
    }
}

#[test]
fn a_token_says_what_its_owner_may_do_and_until_when() {
    let directory = Directory::new("acl");
    let config =
        JwtConfig { superuser_claim: Some("root".to_owned()), ..JwtConfig::new(vec![secret(&directory)]) };
    let (chain, _) = start(config, NOW);
    let claims = json!({"exp": NOW + 60, "root": true, "acl": {"pub": ["up/%u"], "sub": ["down/%c/#"]}});
    let identity = allowed(&chain, login("bob", &token("HS256", &claims)));
    assert!(identity.is_superuser);
    let permissions = identity.permissions.unwrap();
    let bob = Subject { user_name: Some("bob"), client_id: "phone" };
    let publish = Action::Publish { qos: 1, retain: true };
    let subscribe = Action::Subscribe { qos: 2 };
    for (action, topic, is_allowed) in [
        (publish, "up/bob", true),
        (publish, "up/eve", false),
        (subscribe, "down/phone/+", true),
        (subscribe, "down/#", false),
    ] {
        assert_eq!(permissions.check(bob, action, topic).unwrap().0, is_allowed, "{action:?} {topic}");
    }
}

#[test]
fn a_token_may_be_the_user_name() {
    let directory = Directory::new("user-name");
    let config = JwtConfig {
        token_in: TokenIn::UserName,
        user_name_claim: Some("sub".to_owned()),
        ..JwtConfig::new(vec![secret(&directory)])
    };
    let (chain, _) = start(config, NOW);
    let token = token("HS256", &json!({"exp": NOW + 1, "sub": "bob"}));
    let request = Request { password: None, ..login(&token, "") };
    assert_eq!(allowed(&chain, request).user_name.as_deref(), Some("bob"));
}

#[test]
fn what_is_no_token_is_the_next_steps_business() {
    let directory = Directory::new("next");
    let jwt = StepConfig::Jwt(Box::new(JwtConfig::new(vec![secret(&directory)])));
    let users = password_file(&directory.write("users", format!("bob:{SEVEN}")));
    let chain = support::chain(vec![jwt, users]);
    assert_eq!(&*allowed(&chain, login("bob", "secret")).by, "password file");
    for text in
        ["", ".", "..", "a.b", "a.b.c", "a.b.c.d", "e30.e30.", "W10.e30.AAAA", "eyJhbGciOjF9.e30.AAAA"]
    {
        let refusal = refused(&chain, login("bob", text));
        assert_eq!(refusal.by.as_deref(), Some("password file"), "{text}: {refusal}");
    }
}

#[test]
fn a_key_that_was_replaced_is_fetched_when_the_first_token_names_the_new_one() {
    let keys = Arc::new(Mutex::new(vec![jwk("p256", "one")]));
    let published = Arc::clone(&keys);
    let server = Server::start(move |_| Reply::ok(json!({"keys": *published.lock().unwrap()}).to_string()));
    let (chain, hand) = start(JwtConfig::new(vec![remote(&server.url("/keys"))]), NOW);
    let claims = json!({"exp": NOW + 1000});
    let token = |kid: &str| signed(&json!({"alg": "ES256", "kid": kid}), "ES256", &claims);
    allowed(&chain, login("bob", &token("one")));
    assert_eq!(server.asked().len(), 1);

    // Made-up key ids do not make the broker ask again and again.
    for _ in 0..5 {
        let refusal = refused(&chain, login("bob", &token("two")));
        assert!(refusal.why.contains("(key id `two`)"), "{refusal}");
    }
    assert_eq!(server.asked().len(), 1);

    keys.lock().unwrap()[0]["kid"] = json!("two");
    hand.advance_s(10);
    allowed(&chain, login("bob", &token("two")));
    refused(&chain, login("bob", &token("one")));
    assert_eq!(server.asked().len(), 2);
    assert_eq!(server.asked()[0].target, "/keys");
}

#[test]
fn keys_stay_in_force_while_their_server_is_away() {
    let status = Arc::new(AtomicUsize::new(503));
    let said = Arc::clone(&status);
    let server = Server::start(move |_| match said.load(Ordering::SeqCst) {
        200 => Reply::ok(json!({"keys": [jwk("ed25519", "one")]}).to_string()),
        201 => Reply::ok("{}"),
        202 => Reply::HangUp,
        status => Reply::Answer(u16::try_from(status).unwrap(), String::new()),
    });
    let (chain, hand) = start(JwtConfig::new(vec![remote(&server.url("/"))]), NOW);
    let token = signed(&json!({"alg": "EdDSA", "kid": "one"}), "EdDSA", &json!({"exp": NOW + 1000}));
    let unknown = signed(&json!({"alg": "EdDSA", "kid": "new"}), "EdDSA", &json!({"exp": NOW + 1000}));
    let refusal = refused(&chain, login("bob", &token));
    assert_eq!(refusal.reason, Reason::ServerUnavailable);
    assert!(refusal.why.contains("HTTP status 503"), "{refusal}");

    status.store(200, Ordering::SeqCst);
    hand.advance_s(10);
    allowed(&chain, login("bob", &token));
    for broken in [500, 201, 202] {
        status.store(broken, Ordering::SeqCst);
        hand.advance_s(10);
        allowed(&chain, login("bob", &token));
        // Whether there is such a key, nobody can say now.
        assert_eq!(refused(&chain, login("bob", &unknown)).reason, Reason::ServerUnavailable, "{broken}");
    }
}

#[test]
fn a_chain_in_place_of_another_has_its_keys_until_it_has_fetched_them_itself() {
    let is_there = Arc::new(AtomicUsize::new(1));
    let asked = Arc::clone(&is_there);
    let server = Server::start(move |_| match asked.load(Ordering::SeqCst) {
        0 => Reply::Answer(503, String::new()),
        _ => Reply::ok(json!({"keys": [jwk("ed25519", "one")]}).to_string()),
    });
    let exp = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 1000;
    let token = signed(&json!({"alg": "EdDSA", "kid": "one"}), "EdDSA", &json!({"exp": exp}));
    let config = || {
        let steps = vec![StepConfig::Jwt(Box::new(JwtConfig::new(vec![remote(&server.url("/"))])))];
        Config { steps, ..Config::default() }
    };
    let first = Chain::start(config()).unwrap();
    allowed(&first, login("bob", &token));
    is_there.store(0, Ordering::SeqCst);
    let second = Chain::start_knowing(config(), first.known()).unwrap();
    drop(first);
    allowed(&second, login("bob", &token));
    let stranger = Chain::start(config()).unwrap();
    assert_eq!(refused(&stranger, login("bob", &token)).reason, Reason::ServerUnavailable);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let directory = Directory::new("files");
    let start = |source: KeySource| {
        let steps = vec![StepConfig::Jwt(Box::new(JwtConfig::new(vec![source])))];
        Chain::start(Config { steps, ..Config::default() }).unwrap_err().to_string()
    };
    let path = directory.write("file", include_str!("keys/p256.pem"));
    let cases = [
        (include_str!("keys/p256.pem"), "block 1: a private key, which belongs to whoever issues tokens"),
        (include_str!("keys/rsa-1024-public.pem"), "block 1: an RSA key of 1024 bits; from 2048 to 8192"),
        ("nothing", "no public key in PEM form in it"),
    ];
    for (text, why) in cases {
        directory.write("file", text);
        let error = start(KeySource::Pem { path: path.clone() });
        assert!(error.starts_with(&format!("jwt: {}: {why}", path.display())), "{error}");
    }
    directory.write("file", "short");
    let error = start(KeySource::Secret { path: path.clone(), is_base64: false });
    assert!(error.ends_with("the secret has 5 bytes, and 16 is the least"), "{error}");
    let error = start(KeySource::Secret { path: path.clone(), is_base64: true });
    assert!(error.ends_with("the secret is no Base64"), "{error}");
    let error = start(remote("ftp://example.org/"));
    assert!(error.contains("it must begin with http:// or https:// and a host"), "{error}");
}

#[test]
fn keys_are_replaced_by_a_reload_and_stay_if_the_new_ones_are_none() {
    let directory = Directory::new("jwt-reload");
    let path = directory.write("key", public_pem("p256"));
    let (chain, _) = start(JwtConfig::new(vec![KeySource::Pem { path }]), NOW);
    let [old, new] = ["ES256", "EdDSA"].map(|algorithm| token(algorithm, &json!({"exp": NOW + 1})));
    directory.write("key", "nothing");
    assert!(chain.reload().unwrap_err().to_string().contains("key: no public key"));
    allowed(&chain, login("bob", &old));
    directory.write("key", public_pem("ed25519"));
    chain.reload().unwrap();
    allowed(&chain, login("bob", &new));
    refused(&chain, login("bob", &old));
}

fn start(config: JwtConfig, now: u64) -> (Chain, Hand) {
    let (clock, hand) = Clock::manual(now);
    let steps = vec![StepConfig::Jwt(Box::new(config))];
    (Chain::start_with(Config { steps, ..Config::default() }, clock).unwrap(), hand)
}

fn all_keys(directory: &Directory) -> Vec<KeySource> {
    let names = ["rsa", "p256", "p384", "ed25519"];
    let public = names.iter().map(|name| pem(directory, name));
    public.chain([secret(directory)]).collect()
}

fn secret(directory: &Directory) -> KeySource {
    // The line end is not part of it.
    KeySource::Secret { path: directory.write("secret", format!("{SECRET}\n")), is_base64: false }
}

fn pem(directory: &Directory, name: &str) -> KeySource {
    KeySource::Pem { path: directory.write(name, public_pem(name)) }
}

fn remote(url: &str) -> KeySource {
    let (refresh_s, timeout) = (3600, Duration::from_secs(60));
    KeySource::JwksUrl { url: url.to_owned(), ca_file: None, refresh_s, timeout }
}

fn public_pem(name: &str) -> &'static str {
    match name {
        "rsa" => include_str!("keys/rsa-public.pem"),
        "p256" => include_str!("keys/p256-public.pem"),
        "p384" => include_str!("keys/p384-public.pem"),
        _ => include_str!("keys/ed25519-public.pem"),
    }
}

/// A public key as a set has it.
fn jwk(name: &str, kid: &str) -> Value {
    let der =
        rustls::pki_types::SubjectPublicKeyInfoDer::from_pem_slice(public_pem(name).as_bytes()).unwrap();
    if name == "ed25519" {
        return json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": encode(&der[der.len() - 32..])});
    }
    let point = &der[der.len() - 64..];
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "alg": "ES256",
        "x": encode(&point[..32]), "y": encode(&point[32..])})
}

fn token(algorithm: &str, claims: &Value) -> String {
    signed(&json!({"alg": algorithm, "typ": "JWT"}), algorithm, claims)
}

/// A token with this header, signed as `algorithm` says.
fn signed(header: &Value, algorithm: &str, claims: &Value) -> String {
    let text = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = sign(algorithm, text.as_bytes());
    format!("{text}.{}", encode(&signature))
}

fn sign(algorithm: &str, text: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let der = |pem: &str| PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let hmac = |kind| hmac::sign(&hmac::Key::new(kind, SECRET.as_bytes()), text).as_ref().to_vec();
    let rsa = |padding: &'static dyn signature::RsaEncoding| {
        let key = der(include_str!("keys/rsa.pem"));
        let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(padding, &random, text, &mut signature).unwrap();
        signature
    };
    let ecdsa = |kind, pem| {
        let key = EcdsaKeyPair::from_pkcs8(kind, der(pem).secret_pkcs8_der(), &random).unwrap();
        key.sign(&random, text).unwrap().as_ref().to_vec()
    };
    match algorithm {
        "HS256" => hmac(hmac::HMAC_SHA256),
        "HS384" => hmac(hmac::HMAC_SHA384),
        "HS512" => hmac(hmac::HMAC_SHA512),
        "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
        "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
        "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
        "PS256" => rsa(&signature::RSA_PSS_SHA256),
        "PS384" => rsa(&signature::RSA_PSS_SHA384),
        "PS512" => rsa(&signature::RSA_PSS_SHA512),
        "ES256" => ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, include_str!("keys/p256.pem")),
        "ES384" => ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, include_str!("keys/p384.pem")),
        _ => {
            let key = der(include_str!("keys/ed25519.pem"));
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()).unwrap();
            key.sign(text).as_ref().to_vec()
        }
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

const ALGORITHMS: [&str; 12] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "EdDSA",
];

const SECRET: &str = "a secret of more than thirty-two bytes";

const NOW: u64 = 1_800_000_000;
