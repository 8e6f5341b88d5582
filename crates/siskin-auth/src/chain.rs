//! The chain: its steps in order, the runtime on which they wait, and what happens when none decides.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use siskin_proto::Reason;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::config::{Config, StepConfig};
use crate::jwt::Known;
use crate::outcome::{Denial, Outcome};
use crate::pool::Pool;
use crate::request::Request;
use crate::stats::{Counter, Counters, Stats, StepStats};
use crate::step::{Means, Step};
use crate::verdict::{Conversation, Identity, Refusal, Verdict};

/// A chain of steps and the threads on which it is evaluated. They end when it is dropped; whoever waits for a
/// verdict then gets none.
pub struct Chain {
    inner: Arc<Inner>,
    runtime: Handle,
    /// The runtime runs until this is dropped.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Chain {
    /// Reads the files of all steps and starts the threads. Blocks meanwhile.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_knowing(config, &Known::default())
    }

    /// The same, in place of a chain that has fetched what is `known`: that is good until it is fetched anew.
    pub fn start_knowing(config: Config, known: &Known) -> Result<Self, StartError> {
        Self::start_as(config, Clock::system(), known.clone())
    }

    /// The same, with a clock that tests move.
    pub fn start_with(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::start_as(config, clock, Known::default())
    }

    #[allow(clippy::needless_pass_by_value, reason = "nobody needs a configuration once it is in force")]
    fn start_as(config: Config, clock: Clock, known: Known) -> Result<Self, StartError> {
        let (runtime, steps, means) = build(&config, clock, known)?;
        let handle = runtime.handle().clone();
        let (running, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new()
            .name("siskin-auth".to_owned())
            .spawn(move || {
                // An error is what the end looks like: the sender is dropped.
                let _ = runtime.block_on(stopped);
                // Not waiting for a name that is still looked up.
                runtime.shutdown_background();
            })
            .map_err(|error| no_thread(&error))?;
        let inner = Inner {
            config,
            steps,
            means,
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            counters: Total::default(),
        };
        Ok(Self { inner: Arc::new(inner), runtime: handle, running: Some(running), thread: Some(thread) })
    }

    /// Reads the files of all steps and checks what can be checked, without asking anybody anything.
    pub fn check(config: &Config) -> Result<(), StartError> {
        // What is spawned on a runtime that nobody runs does not happen.
        build(config, Clock::system(), Known::default()).map(drop)
    }

    /// The verdict, if it takes no step to know it: as long as there is none, for clients without credentials,
    /// and for those whose certificate is proof. Does not block.
    pub fn at_once(&self, request: &Request) -> Option<Verdict> {
        let verdict = self.inner.at_once(request);
        if let Some(verdict) = &verdict {
            self.inner.counters.count(verdict);
        }
        verdict
    }

    /// Asks the steps in their order and tells `done` the verdict: before it returns if [`Chain::at_once`] knows
    /// it or there is no room for one more client, else from a thread of the chain, where it must not block.
    pub fn authenticate(&self, request: Request, done: impl FnOnce(Verdict) + Send + 'static) -> Pending {
        if let Some(verdict) = self.at_once(&request) {
            done(verdict);
            return Pending(None);
        }
        let bytes = request.bytes();
        let request = Box::new(request);
        self.spawn(bytes, |inner| async move { inner.ask_from(0, request, None).await }, done)
    }

    /// Goes on with a client that has answered a challenge. `done` is called as in [`Chain::authenticate`].
    pub fn proceed(
        &self,
        conversation: Conversation,
        data: Vec<u8>,
        done: impl FnOnce(Verdict) + Send + 'static,
    ) -> Pending {
        let bytes = conversation.request.bytes() + data.len();
        self.spawn(bytes, |inner| async move { inner.proceed(conversation, data).await }, done)
    }

    /// Reads all files again. A step whose file cannot be used keeps what it has, and the error says why; the
    /// others have what is new. Blocks while it reads.
    pub fn reload(&self) -> Result<(), ReloadError> {
        let _entered = self.runtime.enter();
        let failures: Vec<_> = self.inner.steps.iter().filter_map(|asked| asked.reload().err()).collect();
        if failures.is_empty() { Ok(()) } else { Err(ReloadError { failures }) }
    }

    /// What it has fetched, for the chain that takes its place.
    pub fn known(&self) -> &Known {
        &self.inner.means.known
    }

    /// What has happened so far.
    pub fn stats(&self) -> Stats {
        Stats {
            allowed: self.inner.counters.allowed.value(),
            refused: self.inner.counters.refused.value(),
            waiting: self.inner.waiting.load(Ordering::Relaxed),
            steps: self.inner.steps.iter().map(Asked::stats).collect(),
            pool: self.inner.means.pool.stats(),
        }
    }

    /// Whether there is no step at all, so that a user name is taken at its word.
    pub fn is_empty(&self) -> bool {
        self.inner.steps.is_empty()
    }

    fn spawn<F: Future<Output = Verdict> + Send + 'static>(
        &self,
        bytes: usize,
        ask: impl FnOnce(Arc<Inner>) -> F,
        done: impl FnOnce(Verdict) + Send + 'static,
    ) -> Pending {
        let Some(place) = Place::take(&self.inner, bytes) else {
            let waiting = self.inner.waiting.load(Ordering::Relaxed);
            let why = format!("{waiting} clients wait for their verdict already");
            let verdict = Verdict::Refused(Refusal::busy(None, &why));
            self.inner.counters.count(&verdict);
            done(verdict);
            return Pending(None);
        };
        let verdict = ask(Arc::clone(&self.inner));
        let task = self.runtime.spawn(async move {
            let timeout = place.inner.config.timeout;
            let verdict = tokio::time::timeout(timeout, verdict).await.unwrap_or_else(|_| {
                let why = format!("no verdict within {timeout:?}");
                Verdict::Refused(Refusal::unavailable(None, &why))
            });
            place.inner.counters.count(&verdict);
            drop(place);
            done(verdict);
        });
        Pending(Some(task.abort_handle()))
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        drop(self.running.take());
        let Some(thread) = self.thread.take() else { return };
        // The last reference may be one that a `done` has dropped, on that very thread.
        if thread.thread().id() != thread::current().id() {
            // It has not panicked: a panic of a task stays in its task.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// The steps, and the runtime to run them on.
fn build(config: &Config, clock: Clock, known: Known) -> Result<(Runtime, Vec<Asked>, Means), StartError> {
    let pool = Pool::start(&config.hashing).map_err(|error| no_thread(&error))?;
    let means = Means { clock, pool: Arc::new(pool), known };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(LOOKUPS_MAX)
        .build()
        .map_err(|error| no_thread(&error))?;
    let entered = runtime.enter();
    let steps = config.steps.iter().enumerate();
    let steps = steps.map(|(index, step)| Asked::new(step, &config.steps[index + 1..], &means));
    let steps = steps.collect::<Result<_, _>>()?;
    drop(entered);
    Ok((runtime, steps, means))
}

fn no_thread(error: &io::Error) -> StartError {
    StartError { step: None, why: format!("a thread cannot be started: {error}") }
}

/// Host names that are looked up at the same time, each on a thread of its own.
const LOOKUPS_MAX: usize = 8;

/// A verdict that is still to come. Dropping this changes nothing.
#[derive(Debug)]
pub struct Pending(Option<AbortHandle>);

impl Pending {
    /// Gives the client up, because it is gone: what it waits for is not done for it, and `done` is most likely
    /// not called any more.
    pub fn cancel(&self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Why a chain could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// The step at fault.
    pub step: Option<String>,
    /// What is wrong, with file and line if it is a file.
    pub why: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "{step}: {}", self.why),
            None => f.write_str(&self.why),
        }
    }
}

impl std::error::Error for StartError {}

/// Why some steps have nothing new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadError {
    /// Each step that keeps what it had.
    pub failures: Vec<StartError>,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.failures.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{failure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ReloadError {}

struct Inner {
    config: Config,
    steps: Vec<Asked>,
    means: Means,
    waiting: AtomicUsize,
    /// What is kept of those who wait.
    waiting_bytes: AtomicUsize,
    counters: Total,
}

impl Inner {
    fn at_once(&self, request: &Request) -> Option<Verdict> {
        if let Some(method) = &request.method {
            let is_known = self.steps.iter().any(|asked| asked.step.speaks(method));
            return (!is_known).then(|| Verdict::Refused(bad_method(method)));
        }
        if request.certificate.as_ref().is_some_and(|certificate| certificate.is_proof) {
            let identity = Identity::new(request.user_name.clone(), &"client certificate".into());
            return Some(Verdict::Allowed(Box::new(identity)));
        }
        let is_asked = if request.has_credentials() {
            !self.steps.is_empty()
        } else {
            self.steps.iter().any(|asked| asked.step.knows_anonymous())
        };
        (!is_asked).then(|| self.undecided(request, &[]))
    }

    /// Asks the steps from this one on.
    async fn ask_from(&self, first: usize, request: Box<Request>, passed: Option<String>) -> Verdict {
        let mut passed: Vec<String> = passed.into_iter().collect();
        for (index, asked) in self.steps.iter().enumerate().skip(first) {
            if request.method.as_deref().is_some_and(|method| !asked.step.speaks(method)) {
                continue;
            }
            let outcome = asked.step.ask(&request).await;
            asked.count(&outcome);
            let outcome = match outcome {
                Outcome::Ignore(why) => {
                    passed.push(format!("{}: {why}", asked.name));
                    continue;
                }
                outcome => outcome,
            };
            return asked.verdict(outcome, index, request);
        }
        self.undecided(&request, &passed)
    }

    async fn proceed(&self, conversation: Conversation, data: Vec<u8>) -> Verdict {
        let Conversation { mut request, step, dialogue } = conversation;
        let Some(asked) = self.steps.get(step) else {
            return Verdict::Refused(bad_method(request.method.as_deref().unwrap_or_default()));
        };
        let outcome = asked.step.proceed(dialogue, &data);
        asked.count(&outcome);
        match outcome {
            Outcome::Ignore(why) => {
                let passed = format!("{}: {why}", asked.name);
                // What it has said in answer to a bare question is what the next would have asked for.
                request.data = data;
                self.ask_from(step + 1, request, Some(passed)).await
            }
            outcome => asked.verdict(outcome, step, request),
        }
    }

    /// What becomes of a client of whom no step knows anything.
    fn undecided(&self, request: &Request, passed: &[String]) -> Verdict {
        // Without any step a name is as good as none: there is nobody who could tell.
        if request.has_credentials() && !self.steps.is_empty() {
            let refusal = Refusal {
                reason: Reason::BadUserNameOrPassword,
                why: format!("nobody knows these credentials ({})", passed.join("; ")),
                told: Reason::BadUserNameOrPassword.name().into(),
                by: None,
            };
            return Verdict::Refused(refusal);
        }
        let is_allowed = request.allow_anonymous.or(self.config.anonymous).unwrap_or(request.is_local);
        if is_allowed {
            let identity = Identity::new(request.user_name.clone(), &"anonymous".into());
            return Verdict::Allowed(Box::new(identity));
        }
        let is_said = request.allow_anonymous.or(self.config.anonymous).is_some();
        let why = match (is_said, self.steps.is_empty()) {
            (true, _) => "clients without a user name are not allowed here",
            (false, true) => {
                "nobody may log in by this listener, since no way to do so is configured and anonymous clients \
                 are allowed on loopback addresses and Unix sockets only; configure one, or allow_anonymous"
            }
            (false, false) => {
                "clients without a user name are allowed on loopback addresses and Unix sockets only, unless \
                 allow_anonymous says so"
            }
        };
        let told = if self.steps.is_empty() {
            "anonymous clients are not allowed here"
        } else {
            "a user name and a password are needed"
        };
        let reason = Reason::NotAuthorized;
        Verdict::Refused(Refusal { reason, why: why.to_owned(), told: told.into(), by: None })
    }
}

fn bad_method(method: &str) -> Refusal {
    Refusal {
        reason: Reason::BadAuthenticationMethod,
        why: format!("no step knows the authentication method `{}`", method.escape_debug()),
        told: Reason::BadAuthenticationMethod.name().into(),
        by: None,
    }
}

/// A step with its name and counters.
struct Asked {
    name: Arc<str>,
    step: Step,
    counters: Counters,
}

impl Asked {
    fn new(config: &StepConfig, later: &[StepConfig], means: &Means) -> Result<Self, StartError> {
        let name: Arc<str> = config.name().into();
        let step = Step::new(config, later, &name, means)
            .map_err(|why| StartError { step: Some(config.name().to_owned()), why })?;
        Ok(Self { name, step, counters: Counters::default() })
    }

    fn reload(&self) -> Result<(), StartError> {
        self.step.reload().map_err(|why| StartError { step: Some(self.name.to_string()), why })
    }

    fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Allow(_) => &self.counters.allowed,
            Outcome::Deny(_) => &self.counters.denied,
            Outcome::Ignore(_) => &self.counters.ignored,
            Outcome::Challenge(..) => &self.counters.challenged,
            Outcome::Unavailable(_) => &self.counters.unavailable,
            Outcome::Busy(_) => &self.counters.busy,
        };
        counter.add_one();
    }

    fn verdict(&self, outcome: Outcome, step: usize, request: Box<Request>) -> Verdict {
        match outcome {
            Outcome::Allow(identity) => Verdict::Allowed(identity),
            Outcome::Deny(denial) => Verdict::Refused(Refusal::denied(&self.name, denial)),
            Outcome::Unavailable(why) => Verdict::Refused(Refusal::unavailable(Some(&self.name), &why)),
            Outcome::Busy(why) => Verdict::Refused(Refusal::busy(Some(&self.name), &why)),
            Outcome::Challenge(data, dialogue) => {
                Verdict::Challenge { data, conversation: Conversation { request, step, dialogue } }
            }
            Outcome::Ignore(why) => Verdict::Refused(Refusal::denied(
                &self.name,
                Denial { reason: Reason::BadUserNameOrPassword, why },
            )),
        }
    }

    fn stats(&self) -> StepStats {
        let counters = &self.counters;
        StepStats {
            name: Arc::clone(&self.name),
            allowed: counters.allowed.value(),
            denied: counters.denied.value(),
            ignored: counters.ignored.value(),
            challenged: counters.challenged.value(),
            unavailable: counters.unavailable.value(),
            busy: counters.busy.value(),
            cached: self.step.cached(),
            is_broken: self.step.is_broken(),
        }
    }
}

/// What the whole chain counts.
#[derive(Default)]
struct Total {
    allowed: Counter,
    refused: Counter,
}

impl Total {
    fn count(&self, verdict: &Verdict) {
        match verdict {
            Verdict::Allowed(_) => self.allowed.add_one(),
            Verdict::Refused(_) => self.refused.add_one(),
            Verdict::Challenge { .. } => {}
        }
    }
}

/// The place of a client that waits.
struct Place {
    inner: Arc<Inner>,
    bytes: usize,
}

impl Place {
    /// A place for a client of whom so many bytes must be kept, if there is one.
    fn take(inner: &Arc<Inner>, bytes: usize) -> Option<Self> {
        let Config { attempts_max, waiting_max_bytes, .. } = inner.config;
        take(&inner.waiting_bytes, bytes, waiting_max_bytes).then_some(())?;
        if take(&inner.waiting, 1, attempts_max) {
            return Some(Self { inner: Arc::clone(inner), bytes });
        }
        inner.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.waiting.fetch_sub(1, Ordering::Relaxed);
        self.inner.waiting_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Adds to what is taken, unless that were more than there is.
fn take(taken: &AtomicUsize, more: usize, max: usize) -> bool {
    let sum = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= max);
    taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
}
