//! What a request that fails is told.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use siskin_core::Refusal;
use siskin_server::{NotBanned, Unanswered};
use utoipa::ToSchema;

/// Why a request fails.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

/// The body of an answer that is no success.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is, for programs.
    #[schema(example = "NOT_FOUND")]
    code: &'static str,
    /// What is wrong, for people.
    #[schema(example = "there is no session of `sensor-7`")]
    message: String,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    /// A body that is not what the path takes.
    pub(crate) fn bad_body(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, "BAD_REQUEST", message)
    }

    /// Nothing is there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    /// No session has this client id.
    pub(crate) fn no_client(client_id: &str) -> Self {
        Self::not_found(format!("there is no session of `{client_id}`"))
    }

    /// The same with the word that programs know for it from elsewhere.
    pub(crate) fn coded(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    /// Something else is in the way.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", message)
    }

    /// What is to be made is there, in the words of EMQX.
    pub(crate) fn already_exists(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ALREADY_EXISTS", message)
    }

    /// The path is there, the method is not.
    pub(crate) fn bad_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "this path does not take this method")
    }

    /// Whoever asks has not said who it is, or not truthfully.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
    }

    /// The request comes from where none should.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", message)
    }

    /// A configuration that cannot be used.
    pub(crate) fn bad_configuration(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "BAD_CONFIGURATION", message)
    }

    /// The broker cannot do this at the moment.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response =
            (self.status, Json(Problem { code: self.code, message: self.message })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"siskin\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        Self::unavailable(unanswered.to_string())
    }
}

impl From<NotBanned> for Failure {
    fn from(not_banned: NotBanned) -> Self {
        match not_banned {
            NotBanned::TooMany(error) => Self::conflict(error.to_string()),
            NotBanned::Unanswered(unanswered) => Self::unavailable(format!(
                "the ban is in force, but not everybody may have been disconnected: {unanswered}"
            )),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotSafe(_) | Refusal::RetainedFull => Self::unavailable(refusal.to_string()),
            Refusal::Reserved => Self::forbidden(refusal.to_string()),
            _ => Self::bad_request(refusal.to_string()),
        }
    }
}
