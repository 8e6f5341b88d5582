//! The part of EMQX's `/api/v5` that scripts use most, in its shapes: lists by page and limit, errors as code and
//! message. What EMQX has and we have not is left out rather than made up.

mod banned;
mod broker;
mod clients;
mod messages;
mod subscriptions;

use axum::extract::DefaultBodyLimit;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;

use crate::app::App;
use crate::failure::Failure;

pub(crate) use broker::status_text;

/// All paths below `/api/v5`.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(broker::status))
        // Who is not known yet has no more to say than a name and a password.
        .routes(routes!(broker::login).layer(DefaultBodyLimit::max(LOGIN_BYTES_MAX)))
        .routes(routes!(broker::nodes))
        .routes(routes!(broker::node))
        .routes(routes!(broker::stats))
        .routes(routes!(broker::metrics))
        .routes(routes!(broker::listeners))
        .routes(routes!(banned::list, banned::ban))
        .routes(routes!(banned::unban))
        .routes(routes!(clients::list))
        .routes(routes!(clients::one, clients::kick))
        .routes(routes!(clients::kick_many))
        .routes(routes!(clients::subscriptions))
        .routes(routes!(subscriptions::list))
        .routes(routes!(subscriptions::topics))
        .routes(routes!(messages::publish))
        .routes(routes!(messages::publish_many))
        .routes(routes!(messages::retained))
        .routes(routes!(messages::retained_one, messages::forget))
}

/// Which page of a list is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageAndLimit {
    /// The page, counted from 1.
    #[param(default = 1)]
    page: Option<usize>,
    /// Items of a page.
    #[param(default = 100)]
    limit: Option<usize>,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
struct List {
    data: Vec<Value>,
    meta: Meta,
}

/// Which page of a list this is.
#[derive(Serialize, ToSchema)]
struct Meta {
    page: usize,
    limit: usize,
    /// How many items there are, where that is known without looking at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    hasnext: bool,
}

/// Items gathered for one page, those of the pages before passed over.
struct Gathering {
    page: usize,
    limit: usize,
    skip: usize,
    data: Vec<Value>,
}

impl PageAndLimit {
    fn begin(&self) -> Result<Gathering, Failure> {
        let (page, limit) = (self.page.unwrap_or(1), self.limit.unwrap_or(100));
        let skip = page.checked_sub(1).and_then(|before| before.checked_mul(limit));
        match skip.filter(|skip| *skip <= SKIP_MAX && (1..=LIMIT_MAX).contains(&limit)) {
            Some(skip) => Ok(Gathering { page, limit, skip, data: Vec::new() }),
            None => Err(Failure::bad_request(format!(
                "page counts from 1, limit is at most {LIMIT_MAX}, and a page begins within the first {SKIP_MAX} items"
            ))),
        }
    }
}

impl Gathering {
    /// How many more are needed, the one included that tells that there is another page.
    fn missing(&self) -> usize {
        self.skip + self.limit + 1 - self.data.len()
    }

    fn add(&mut self, item: impl FnOnce() -> Value) {
        if self.skip > 0 {
            self.skip -= 1;
        } else if self.data.len() <= self.limit {
            self.data.push(item());
        }
    }

    fn is_full(&self) -> bool {
        self.data.len() > self.limit
    }

    fn finish(mut self, count: Option<usize>) -> List {
        let hasnext = self.is_full();
        self.data.truncate(self.limit);
        List { data: self.data, meta: Meta { page: self.page, limit: self.limit, count, hasnext } }
    }
}

/// Bytes of the body of a log-in.
const LOGIN_BYTES_MAX: usize = 4096;

/// Items of a page at most.
const LIMIT_MAX: usize = 10_000;

/// Items passed over at most. Whoever wants more of a list reads it by cursor, from our own API.
const SKIP_MAX: usize = 1_000_000;
