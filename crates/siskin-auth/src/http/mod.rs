//! The step that asks a web server, in the forms of EMQX and of mosquitto-go-auth.

mod answer;
pub(crate) mod client;
pub(crate) mod question;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time;

use self::answer::Reading;
use self::client::{Answer, Client};
use self::question::{Asked, Question};
use crate::breaker::Breaker;
use crate::cache::Cache;
use crate::config::HttpConfig;
use crate::outcome::{Denial, Outcome};
use crate::request::Request;
use crate::step::Means;
use crate::verdict::Identity;

/// A web server that knows the clients.
pub(crate) struct HttpStep {
    name: Arc<str>,
    client: Client,
    question: Question,
    /// Asked about those who may come in.
    superuser: Option<Question>,
    reading: Reading,
    knows_anonymous: bool,
    timeout: Duration,
    /// A place for each question that may be under way.
    places: Semaphore,
    breaker: Breaker,
    cache: Option<Cache<Remembered>>,
    means: Means,
}

/// An outcome worth remembering.
#[derive(Clone)]
enum Remembered {
    Allow(Box<Identity>),
    Deny(Denial),
    Ignore(String),
}

impl HttpStep {
    pub(crate) fn new(config: &HttpConfig, name: &Arc<str>, means: &Means) -> Result<Self, String> {
        let question = Question::new(config, &config.url)?;
        let superuser = config.superuser_url.as_deref().map(|url| Question::new(config, url)).transpose()?;
        Ok(Self {
            name: Arc::clone(name),
            client: Client::new(config.ca_file.as_deref(), config.timeout, ANSWER_MAX_BYTES)?,
            question,
            superuser,
            reading: Reading { form: config.answer, no: config.no },
            knows_anonymous: config.knows_anonymous,
            timeout: config.timeout,
            places: Semaphore::new(config.connections_max.clamp(1, Semaphore::MAX_PERMITS)),
            breaker: Breaker::new(name, config.breaker, &means.clock),
            cache: Cache::new(config.cache, &means.clock)?,
            means: means.clone(),
        })
    }

    pub(crate) async fn ask(&self, client: &Request) -> Outcome {
        if !client.has_credentials() && !self.knows_anonymous {
            return Outcome::Ignore("neither user name nor password".to_owned());
        }
        let Some(asked) = self.question.about(client) else {
            return Outcome::wrong("the password is no text, and the question needs it as one");
        };
        let superuser = self.superuser.as_ref().and_then(|question| question.about(client));
        // All that the outcome depends on, whether it is asked about or not.
        let name = client.user_name.as_ref().map(|name| name.as_bytes());
        let parts = asked.parts().chain(superuser.iter().flat_map(Asked::parts)).chain(name);
        let digest = self.cache.as_ref().map(|cache| cache.digest(parts));
        let remembered = self.cache.as_ref().zip(digest).and_then(|(cache, digest)| cache.value(&digest));
        if let Some(remembered) = remembered {
            return remembered.into_outcome();
        }
        let outcome = match self.outcome(&asked, superuser.as_ref(), client).await {
            Ok(outcome) => outcome,
            Err(why) => return Outcome::Unavailable(why),
        };
        if let Some((cache, digest)) = self.cache.as_ref().zip(digest)
            && let Some((remembered, seconds_max)) = self.remember(&outcome)
        {
            cache.put(&digest, remembered, matches!(outcome, Outcome::Allow(_)), seconds_max);
        }
        outcome
    }

    pub(crate) fn knows_anonymous(&self) -> bool {
        self.knows_anonymous
    }

    /// Forgets what it was told: the users may have changed.
    pub(crate) fn reload(&self) {
        if let Some(cache) = &self.cache {
            cache.clear();
        }
    }

    pub(crate) fn cached(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::hits)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.breaker.is_broken()
    }

    async fn outcome(
        &self,
        asked: &Asked,
        superuser: Option<&Asked>,
        client: &Request,
    ) -> Result<Outcome, String> {
        let now_unix_s = self.means.clock.unix_s();
        let user = client.user_name.as_ref();
        let read = |answer: &Answer| self.reading.outcome(answer, user, &self.name, now_unix_s);
        let Some(mut outcome) = self.answered(asked, read).await? else {
            return Ok(Outcome::wrong("a name or password cannot stand in a header or URL"));
        };
        if let (Outcome::Allow(identity), Some(superuser)) = (&mut outcome, superuser) {
            let answer = self.answered(superuser, |answer| self.reading.is_yes(answer)).await?;
            identity.is_superuser |= answer.unwrap_or(false);
        }
        Ok(outcome)
    }

    /// Asks, if the back end is well and has room, and reads the answer; nothing if it cannot be asked.
    async fn answered<T>(
        &self,
        asked: &Asked,
        read: impl FnOnce(&Answer) -> Result<T, String>,
    ) -> Result<Option<T>, String> {
        let Some(request) = asked.request() else { return Ok(None) };
        let place = time::timeout(self.timeout, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err("too many questions are under way, and none was answered in time".to_owned());
        };
        // Asked for only now: what was left alone while this waited stays alone.
        let Some(permit) = self.breaker.enter() else {
            return Err("it has failed too often and is not asked for a while".to_owned());
        };
        match self.client.ask(request).await.and_then(|answer| read(&answer)) {
            Ok(read) => {
                permit.succeed();
                Ok(Some(read))
            }
            Err(why) => {
                permit.fail(&why);
                Err(why)
            }
        }
    }

    /// What to remember, and for how long at most.
    fn remember(&self, outcome: &Outcome) -> Option<(Remembered, Option<u64>)> {
        match outcome {
            Outcome::Allow(identity) => {
                let left_s = identity.expires_at.map(|at| at.saturating_sub(self.means.clock.unix_s()));
                Some((Remembered::Allow(identity.clone()), left_s))
            }
            Outcome::Deny(denial) => Some((Remembered::Deny(denial.clone()), None)),
            Outcome::Ignore(why) => Some((Remembered::Ignore(why.clone()), None)),
            Outcome::Unavailable(_) | Outcome::Busy(_) | Outcome::Challenge(..) => None,
        }
    }
}

impl Remembered {
    fn into_outcome(self) -> Outcome {
        match self {
            Self::Allow(identity) => Outcome::Allow(identity),
            Self::Deny(denial) => Outcome::Deny(denial),
            Self::Ignore(why) => Outcome::Ignore(why),
        }
    }
}

/// More than a thousand rules of an `acl`.
const ANSWER_MAX_BYTES: usize = 256 << 10;
