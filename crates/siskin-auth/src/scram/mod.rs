//! The step that proves by SCRAM-SHA-256 (RFC 5802, 7677), in the AUTH packets of 5.0, that both sides know a
//! password, without sending it.
//!
//! ```text
//!   CONNECT  n,,n=user,r=NONCE           ──►
//!                                        ◄──  AUTH     r=NONCE+OURS,s=SALT,i=4096
//!   AUTH     c=biws,r=NONCE+OURS,p=PROOF ──►
//!                                        ◄──  CONNACK  v=SIGNATURE
//! ```
//!
//! Nothing is hashed here that takes long: the client does that. Channel binding is not offered. Passwords
//! are hashed as SASLprep prepares them, which changes none that are ASCII; names are taken as they are.

mod message;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use base64ct::{Base64, Encoding as _};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac};
use siskin_access::password::{Hash, PasswordFile};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use self::message::{ClientFinal, ClientFirst, server_final, server_first};
use crate::config::ScramConfig;
use crate::outcome::Outcome;
use crate::password_file::load;
use crate::request::Request;
use crate::step::Dialogue;
use crate::verdict::Identity;

/// The name of the method in CONNECT.
pub(crate) const METHOD: &str = "SCRAM-SHA-256";

/// Users whose hashes are of this kind.
pub(crate) struct ScramStep {
    name: Arc<str>,
    path: PathBuf,
    users: RwLock<Arc<Users>>,
    /// Whether nobody else is asked about users who are not in the file.
    is_last: bool,
}

/// Where an exchange stands.
pub(crate) enum Exchange {
    /// The client has named the method only.
    Begun,
    /// It has its salt.
    Challenged(Box<Challenged>),
}

/// What its proof is about.
pub(crate) struct Challenged {
    user: String,
    gs2_header: String,
    /// The nonces of both.
    nonce: String,
    /// The first two messages, as they are signed.
    signed: String,
    stored_key: Zeroizing<Vec<u8>>,
    server_key: Zeroizing<Vec<u8>>,
    is_known: bool,
}

impl ScramStep {
    pub(crate) fn new(config: &ScramConfig, name: &Arc<str>, is_last: bool) -> Result<Self, String> {
        let users = RwLock::new(Arc::new(Users::new(load(&config.path)?)));
        Ok(Self { name: Arc::clone(name), path: config.path.clone(), users, is_last })
    }

    pub(crate) fn reload(&self) -> Result<(), String> {
        let users = Arc::new(Users::new(load(&self.path)?));
        *self.users.write().unwrap_or_else(PoisonError::into_inner) = users;
        Ok(())
    }

    pub(crate) fn ask(&self, request: &Request) -> Outcome {
        if request.method.as_deref() != Some(METHOD) {
            return Outcome::Ignore("another method".to_owned());
        }
        if request.data.is_empty() {
            return Outcome::Challenge(Vec::new(), Dialogue::Scram(Exchange::Begun));
        }
        self.challenge(&request.data)
    }

    pub(crate) fn proceed(&self, exchange: Exchange, data: &[u8]) -> Outcome {
        match exchange {
            Exchange::Begun => self.challenge(data),
            Exchange::Challenged(challenged) => self.verify(&challenged, data),
        }
    }

    fn challenge(&self, data: &[u8]) -> Outcome {
        let mut random = [0; NONCE_BYTES];
        if SystemRandom::new().fill(&mut random).is_err() {
            return Outcome::Unavailable("the system has no random numbers".to_owned());
        }
        let users = Arc::clone(&self.users.read().unwrap_or_else(PoisonError::into_inner));
        match Challenged::new(&users, data, &Base64::encode_string(&random)) {
            Ok((_, challenged)) if !challenged.is_known && !self.is_last => {
                Outcome::Ignore("no such user".to_owned())
            }
            Ok((challenge, challenged)) => {
                let exchange = Exchange::Challenged(Box::new(challenged));
                Outcome::Challenge(challenge.into_bytes(), Dialogue::Scram(exchange))
            }
            Err(why) => Outcome::wrong(format!("the client's first message: {why}")),
        }
    }

    fn verify(&self, challenged: &Challenged, data: &[u8]) -> Outcome {
        match challenged.verify(data) {
            Ok(answer) => {
                let mut identity = Identity::new(Some(challenged.user.as_str().into()), &self.name);
                identity.final_data = Some(answer.into_bytes());
                Outcome::Allow(Box::new(identity))
            }
            Err(why) => Outcome::wrong(why),
        }
    }
}

impl Challenged {
    /// The answer to a client's first message, and what is to be remembered of it.
    fn new(users: &Users, data: &[u8], our_nonce: &str) -> Result<(String, Self), &'static str> {
        let first = ClientFirst::parse(data)?;
        let nonce = [first.nonce, our_nonce].concat();
        let keys = users.keys(&first.user);
        let challenge = server_first(&nonce, &keys.salt, keys.iterations);
        let challenged = Self {
            gs2_header: first.gs2_header.to_owned(),
            signed: format!("{},{challenge}", first.bare),
            user: first.user,
            nonce,
            stored_key: keys.stored_key,
            server_key: keys.server_key,
            is_known: keys.is_known,
        };
        Ok((challenge, challenged))
    }

    /// The server's final message, if the client's proves that it knows the password.
    fn verify(&self, data: &[u8]) -> Result<String, String> {
        let last = ClientFinal::parse(data).map_err(|why| format!("the client's final message: {why}"))?;
        if last.nonce != self.nonce {
            return Err("the client's final message belongs to another exchange".to_owned());
        }
        if last.binding != self.gs2_header.as_bytes() {
            return Err("somebody has changed what the client said of channel binding".to_owned());
        }
        let signed = format!("{},{}", self.signed, last.without_proof);
        let signature = sign(&key(&self.stored_key), &signed);
        let mut client_key = last.proof;
        for (byte, mask) in client_key.iter_mut().zip(signature.as_ref()) {
            *byte ^= mask;
        }
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        let is_right = bool::from(stored_key.as_ref().ct_eq(&self.stored_key));
        if !(is_right & self.is_known) {
            return Err(if self.is_known { "wrong password" } else { "no such user" }.to_owned());
        }
        Ok(server_final(sign(&key(&self.server_key), &signed).as_ref()))
    }
}

/// The users of a file, and what is said to those who are not in it.
struct Users {
    file: PasswordFile,
    /// Iterations and length of the salts of real users.
    shapes: Vec<(u32, usize)>,
    /// Makes up salts.
    decoy: hmac::Key,
}

/// What a user's exchange needs, real or made up.
struct Keys {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Zeroizing<Vec<u8>>,
    server_key: Zeroizing<Vec<u8>>,
    is_known: bool,
}

impl Users {
    fn new(file: PasswordFile) -> Self {
        let mut users: Vec<_> =
            file.users().filter_map(|(name, hash)| hash.scram().map(|scram| (name, scram))).collect();
        users.sort_unstable_by_key(|(name, _)| *name);
        // A secret that stays the same when the broker starts again, so that made-up salts do too.
        let secret = users.first().map_or(&[][..], |(_, scram)| scram.server_key);
        let decoy = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let shapes = users.iter().map(|(_, scram)| (scram.iterations, scram.salt.len())).collect();
        Self { shapes, decoy, file }
    }

    /// Unknown users get a salt too, always the same, and of a shape that known ones have.
    fn keys(&self, user: &str) -> Keys {
        let made_up = sign(&self.decoy, user);
        if let Some(scram) = self.file.user(user).and_then(Hash::scram) {
            return Keys {
                iterations: scram.iterations,
                salt: scram.salt.to_vec(),
                stored_key: Zeroizing::new(scram.stored_key.to_vec()),
                server_key: Zeroizing::new(scram.server_key.to_vec()),
                is_known: true,
            };
        }
        let made_up = made_up.as_ref();
        let choice = usize::from(made_up[0]) << 8 | usize::from(made_up[1]);
        let index = choice.checked_rem(self.shapes.len());
        let (iterations, length) = index.map_or((4096, 16), |index| self.shapes[index]);
        // As many bytes as needed, none of which repeats, since a salt that does is none.
        let salt = (0..length.div_ceil(32)).flat_map(|block| {
            let block = sign(&self.decoy, &format!("{block} {user}"));
            <[u8; 32]>::try_from(block.as_ref()).unwrap_or_default()
        });
        let salt = salt.take(length).collect();
        let key = Zeroizing::new(made_up.to_vec());
        Keys { iterations, salt, stored_key: key.clone(), server_key: key, is_known: false }
    }
}

fn key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

fn sign(key: &hmac::Key, text: &str) -> hmac::Tag {
    hmac::sign(key, text.as_bytes())
}

/// Random bytes of our half of a nonce.
const NONCE_BYTES: usize = 18;

#[cfg(test)]
mod tests {
    use siskin_access::password::NewHash;

    use super::*;

    fn users() -> Users {
        let salt = Base64::decode_vec("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let hash = Hash::create(NewHash::ScramSha256 { iterations: 4096 }, b"pencil", &salt).unwrap();
        Users::new(PasswordFile::parse(format!("user:{}", hash.encode())).unwrap())
    }

    /// RFC 7677, section 3.
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const OUR_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_exchange_of_the_rfc_is_ours() {
        let (challenge, challenged) = Challenged::new(&users(), FIRST, OUR_NONCE).unwrap();
        assert_eq!(
            challenge,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let answer = challenged.verify(LAST.as_bytes()).unwrap();
        assert_eq!(answer, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn whatever_is_changed_on_the_way_is_noticed() {
        let (_, challenged) = Challenged::new(&users(), FIRST, OUR_NONCE).unwrap();
        let cases = [
            (LAST.replace("p=d", "p=e"), "wrong password"),
            (LAST.replace("k0,", "k0,x=1,"), "wrong password"),
            (LAST.replace("k0,", "k1,"), "the client's final message belongs to another exchange"),
            (LAST.replace("biws", "eSws"), "somebody has changed what the client said of channel binding"),
        ];
        for (last, why) in cases {
            assert_eq!(challenged.verify(last.as_bytes()).unwrap_err(), why, "{last}");
        }
    }

    #[test]
    fn an_unknown_user_gets_a_salt_that_stays_and_looks_like_one() {
        let (one, again) = (users().keys("nobody"), users().keys("nobody"));
        assert_eq!((one.iterations, &one.salt), (again.iterations, &again.salt));
        assert_eq!((one.iterations, one.salt.len(), one.is_known), (4096, 16, false));
        assert_ne!(one.salt, users().keys("somebody").salt);
        let (_, challenged) =
            Challenged::new(&users(), b"n,,n=nobody,r=rOprNGfwEbeRWgbNEkqO", OUR_NONCE).unwrap();
        assert_eq!(challenged.verify(LAST.as_bytes()).unwrap_err(), "no such user");
    }
}
