//! Over HTTPS, from where an earlier try stopped.

use std::time::Duration;

use ureq::http::Response;
use ureq::{Agent, Body};

use super::partial::{Partial, Progress};
use super::{Model, StoreError};

/// A machine without a network finds out in a few seconds.
const CONNECT: Duration = Duration::from_secs(4);
/// A connection that says nothing for so long is taken for broken.
const SILENCE: Duration = Duration::from_secs(30);
/// How often a broken transfer is taken up again, as long as each try brings bytes.
const TRIES: usize = 5;

/// Fetches `url` into `partial`.
pub fn fetch(
    url: &str,
    model: &Model,
    partial: &mut Partial,
    progress: &mut dyn Progress,
) -> Result<(), StoreError> {
    let agent = agent();
    for left in (0..TRIES).rev() {
        let before = partial.length();
        match fetch_once(&agent, url, model, partial, progress) {
            Ok(()) => return Ok(()),
            Err(StoreError::Remote { why, .. }) if left > 0 && partial.length() > before => {
                progress.note(&format!("the connection broke ({why}); taking it up again"));
            }
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Remote { url: url.into(), why: "the connection keeps breaking".into() })
}

/// A short text, such as a list of files.
pub fn text(url: &str, longest: u64) -> Result<String, StoreError> {
    let remote = |why: String| StoreError::Remote { url: url.to_owned(), why };
    let response = agent().get(url).call().map_err(|e| remote(describe(&e)))?;
    match response.status().as_u16() {
        200 => {}
        404 => return Err(remote("the hub has no such repository (404)".into())),
        401 | 403 => {
            return Err(remote("there is no such repository, or the hub wants a sign-in for it".into()));
        }
        status => return Err(remote(format!("the server answered {status}"))),
    }
    let body = response.into_body().into_with_config().limit(longest).read_to_string();
    body.map_err(|e| remote(describe(&e)))
}

fn agent() -> Agent {
    Agent::config_builder()
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SILENCE))
        .timeout_per_read(Some(SILENCE))
        .http_status_as_error(false)
        .user_agent(concat!("ember/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

fn fetch_once(
    agent: &Agent,
    url: &str,
    model: &Model,
    partial: &mut Partial,
    progress: &mut dyn Progress,
) -> Result<(), StoreError> {
    let remote = |why: String| StoreError::Remote { url: url.to_owned(), why };
    let have = partial.length();
    if have > 0 && model.size == Some(have) {
        return Ok(());
    }
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header("Range", format!("bytes={have}-"));
    }
    let response = request.call().map_err(|e| remote(describe(&e)))?;
    let expect = match response.status().as_u16() {
        206 if range_start(&response) == Some(have) => content_length(&response),
        // The server knows no ranges, or has less than we do: from the start.
        200 | 206 => {
            partial.restart()?;
            content_length(&response)
        }
        416 => {
            partial.restart()?;
            return Err(remote(
                "what was fetched before does not fit the file; run the command again".into(),
            ));
        }
        404 => return Err(remote("the server does not have it (404)".into())),
        401 | 403 => return Err(remote("the server wants a sign-in for it".into())),
        status => return Err(remote(format!("the server answered {status}"))),
    };
    let start = partial.length();
    let total = expect.map(|n| start + n);
    if let (Some(total), Some(size)) = (total, model.size)
        && total != size
    {
        return Err(remote(format!("the server has a file of {total} bytes, the catalogue says {size}")));
    }
    progress.begin(url, start, total.or(model.size));
    let mut body = response.into_body().into_reader();
    let copied = partial.copy(&mut body, total.or(model.size), progress, &remote);
    progress.end();
    copied?;
    match total.or(model.size) {
        Some(total) if partial.length() < total => Err(remote("it ended early".into())),
        _ => Ok(()),
    }
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    header(response, "content-length")?.trim().parse().ok()
}

/// `bytes 100-199/200` starts at 100.
fn range_start(response: &Response<Body>) -> Option<u64> {
    header(response, "content-range")?.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

fn describe(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "the host's name cannot be resolved (no network?)".into(),
        ureq::Error::ConnectionFailed => "no connection (no network?)".into(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        ureq::Error::Io(e) if e.to_string().contains("lookup") => {
            "the host's name cannot be resolved (no network?)".into()
        }
        other => other.to_string(),
    }
}
