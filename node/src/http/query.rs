//! What a path says: its variable segment, and after the `?` few fields, each known, each once.

use super::error::{ApiError, ErrorCode};
use crate::identity::hex;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

/// The variable segment of a path. One that is no text is nothing that could be found.
#[derive(Clone, Debug)]
pub(crate) struct Segment(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let nothing = |_| ApiError::new(ErrorCode::NotFound, "there is no such thing");
        path.map(|Path(segment)| Self(segment)).map_err(nothing)
    }
}

/// A place in a list and how much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The page begins after this id.
    pub(crate) after: Option<u64>,
    /// Most items of the page.
    pub(crate) limit: usize,
}

/// An id: 16 digits of hex.
pub(crate) fn id(text: &str) -> Option<u64> {
    hex::decode(text).map(u64::from_be_bytes)
}

/// The fields of a query, all of which must be among `known`.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn fields<'a, const N: usize>(
    query: Option<&'a str>,
    known: [&str; N],
) -> Result<[Option<&'a str>; N], ApiError> {
    let mut values = [None; N];
    for field in query.unwrap_or_default().split('&').filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let place = known.iter().position(|known| *known == name);
        let slot = place.and_then(|place| values.get_mut(place));
        match slot {
            Some(slot @ None) => *slot = Some(value),
            Some(Some(_)) => return Err(bad("a field of the query comes twice")),
            None => return Err(bad("the query has an unknown field")),
        }
    }
    Ok(values)
}

/// `after` (an id) and `limit` (1 to `most`; without it, `most`).
///
/// # Errors
/// `BadRequest`.
pub(crate) fn page(query: Option<&str>, most: usize) -> Result<Page, ApiError> {
    let [after, limit] = fields(query, ["after", "limit"])?;
    let after = after.map(|after| id(after).ok_or_else(|| bad("after is not an id of a page")));
    Ok(Page { after: after.transpose()?, limit: limit_of(limit, most)? })
}

/// A limit from 1 to `most`; without one, `most`.
///
/// # Errors
/// `BadRequest`.
pub(crate) fn limit_of(limit: Option<&str>, most: usize) -> Result<usize, ApiError> {
    let Some(limit) = limit else { return Ok(most) };
    let limit = limit.parse::<usize>().ok().filter(|limit| (1..=most).contains(limit));
    limit.ok_or_else(|| bad("limit is out of its bounds"))
}

/// The text of a field: `%` and two digits of hex stand for a byte, `+` for a space. `None`: it is no
/// text.
pub(crate) fn text(field: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let [high, low] = [rest.next()?, rest.next()?].map(|b| char::from(b).to_digit(16));
                u8::try_from(high? * 16 + low?).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

pub(crate) fn bad(detail: &'static str) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_known_and_comes_once() {
        let known = ["after", "limit"];
        assert_eq!(fields(None, known), Ok([None, None]));
        assert_eq!(fields(Some("limit=3&"), known), Ok([None, Some("3")]));
        for query in ["x=1", "limit=1&limit=1", "=", "Limit=1"] {
            assert!(fields(Some(query), known).is_err(), "{query}");
        }
    }

    #[test]
    fn a_text_is_decoded_or_none() {
        assert_eq!(text("a+b%20c%C3%a4"), Some("a b cä".to_owned()));
        assert_eq!(text(""), Some(String::new()));
        for field in ["%", "%4", "%zz", "%+1", "%ff", "a%C3"] {
            assert_eq!(text(field), None, "{field}");
        }
    }

    #[test]
    fn a_page_has_an_id_and_a_limit_within_its_bounds() {
        let page_of = |query| page(Some(query), 100);
        assert_eq!(page(None, 100), Ok(Page { after: None, limit: 100 }));
        let whole = page_of("after=00000000000000ff&limit=7");
        assert_eq!(whole, Ok(Page { after: Some(255), limit: 7 }));
        for query in ["after=ff", "after=", "limit=0", "limit=101", "limit=-1", "limit=%31"] {
            assert!(page_of(query).is_err(), "{query}");
        }
    }
}
