//! The parts of a request, with errors in our words.

use axum::extract::{FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::failure::Failure;

/// The part of a path that names something.
pub(crate) struct Path<T>(pub(crate) T);

/// What stands behind the `?`. A name that is not known is refused: who misspells a filter must not get everything.
pub(crate) struct Query<T>(pub(crate) T);

/// The same for two kinds of things at once.
pub(crate) struct Queries<A, B>(pub(crate) A, pub(crate) B);

/// A body of JSON. Nothing else is taken: a page of another site could send that without asking first.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match AxumPath::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(rejection) => Err(Failure::bad_request(rejection.body_text())),
        }
    }
}

impl<T: DeserializeOwned + IntoParams, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        refuse_others(&parts.uri, &names::<T>())?;
        Ok(Self(read(&parts.uri)?))
    }
}

impl<A, B, S> FromRequestParts<S> for Queries<A, B>
where
    A: DeserializeOwned + IntoParams,
    B: DeserializeOwned + IntoParams,
    S: Send + Sync,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        refuse_others(&parts.uri, &[names::<A>(), names::<B>()].concat())?;
        Ok(Self(read(&parts.uri)?, read(&parts.uri)?))
    }
}

fn read<T: DeserializeOwned>(uri: &Uri) -> Result<T, Failure> {
    let AxumQuery(value) =
        AxumQuery::try_from_uri(uri).map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
    Ok(value)
}

/// What may stand behind the `?`, as it is documented.
fn names<T: IntoParams>() -> Vec<String> {
    T::into_params(|| None).into_iter().map(|parameter| parameter.name).collect()
}

fn refuse_others(uri: &Uri, known: &[String]) -> Result<(), Failure> {
    let given: Vec<(String, String)> = read(uri)?;
    match given.iter().find(|(name, _)| !known.contains(name)) {
        None => Ok(()),
        Some((name, _)) => Err(Failure::bad_request(format!(
            "there is no `{name}` to ask for here, but: {}",
            known.join(", ")
        ))),
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match axum::Json::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(Failure::bad_body(rejection.status(), rejection.body_text())),
        }
    }
}
