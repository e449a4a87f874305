//! Parameters of the query: taken one by one, the rest refused by name.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use edgestack_model::reader::Refusal;
use edgestack_model::{FieldError, Selector, suggest, value};
use serde_json::Value;

use super::error::Failure;
use crate::app::list::{LIMIT_MAX, ListQuery, Start};

/// Parameters of one request.
const PARAMETERS_MAX: usize = 64;

/// The parameters of a request's query.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Sync> FromRequestParts<S> for Parameters {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let mut parameters = Self::default();
        match Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) if pairs.len() <= PARAMETERS_MAX => parameters.pairs = pairs,
            Ok(_) => {
                let hint = format!("at most {PARAMETERS_MAX}");
                parameters.refuse("", Refusal::new("too_many", "the query has too many parameters", hint));
            }
            Err(error) => {
                let refusal = Refusal { code: "malformed", message: error.body_text(), hint: None };
                parameters.refuse("", refusal);
            }
        }
        Ok(parameters)
    }
}

impl Parameters {
    /// The text of a parameter that may be given once, under any of its spellings, the one to show first.
    pub(super) fn text(&mut self, spellings: &[&'static str]) -> Option<String> {
        self.known.extend(spellings);
        let is_wanted = |(key, _): &mut (String, String)| spellings.contains(&key.as_str());
        let mut values: Vec<String> = self.pairs.extract_if(.., is_wanted).map(|(_, value)| value).collect();
        if values.len() > 1 {
            let message = format!("`{}` is given {} times", spellings[0], values.len());
            self.refuse(spellings[0], Refusal::new("duplicate", message, "give it once"));
        }
        values.pop()
    }

    /// The value of a parameter that `parse` reads as it would read a field.
    pub(super) fn optional<T>(
        &mut self,
        spellings: &[&'static str],
        parse: impl FnOnce(&Value) -> Result<T, Refusal>,
    ) -> Option<T> {
        let text = self.text(spellings)?;
        match parse(&Value::String(text)) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.refuse(spellings[0], refusal);
                None
            }
        }
    }

    /// A switch: `true` or `false`, false where it is not given.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        self.optional(&[name], switch).unwrap_or(false)
    }

    /// Notes that a parameter is wrong.
    pub(super) fn refuse(&mut self, name: &str, refusal: Refusal) {
        let Refusal { code, message, hint } = refusal;
        self.errors.push(FieldError { pointer: format!("?{name}"), code: code.to_owned(), message, hint });
    }

    /// What a list is asked for: paging, order and selector, and all others as filters of fields.
    pub(super) fn list_query(mut self) -> Result<ListQuery, Failure> {
        let limit = self.optional(&["limit"], |limit| value::integer(limit, 1, LIMIT_MAX as u64));
        let page = self.optional(&["page"], |page| value::integer(page, 1, u64::from(u32::MAX)));
        let token = self.text(&["continue"]).filter(|token| !token.is_empty());
        let sort_by = self.text(&["sort_by", "sortBy"]).filter(|field| !field.is_empty());
        let ascending =
            self.optional(&["ascending"], |value| value::word(value, &[("true", true), ("false", false)]));
        let selector = self.optional(&["label_selector", "labelSelector"], |value| {
            value.as_str().filter(|text| !text.is_empty()).map_or(Ok(Selector::default()), Selector::parse)
        });
        if page.is_some() && limit.is_none() {
            self.refuse("page", Refusal::new("missing", "pages need a `limit`", "such as `limit=100`"));
        }
        let start = match (page, token) {
            (Some(_), Some(_)) => {
                let refusal =
                    Refusal::new("not_allowed", "a list goes on by `page` or `continue`", "give one");
                self.refuse("page", refusal);
                Start::Beginning
            }
            (Some(page), None) => Start::Page(page as usize),
            (None, Some(token)) => Start::Continue(token),
            (None, None) => Start::Beginning,
        };
        let mut filters: Vec<(String, Vec<String>)> = Vec::new();
        for (field, value) in self.pairs.drain(..) {
            match filters.iter_mut().find(|(other, _)| *other == field) {
                Some((_, values)) => values.push(value),
                None => filters.push((field, vec![value])),
            }
        }
        self.finish()?;
        let descending = !ascending.unwrap_or(true);
        let limit = limit.map(|limit| limit as usize);
        Ok(ListQuery { filters, selector: selector.unwrap_or_default(), sort_by, descending, limit, start })
    }

    /// Refuses every parameter that nobody asked for, and reports all that was refused.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        for (key, _) in std::mem::take(&mut self.pairs) {
            let hint = match suggest::nearest(&key, self.known.iter().copied()) {
                Some(known) => Some(format!("did you mean `{known}`?")),
                None if self.known.is_empty() => None,
                None => Some(format!("known parameters: {}", self.known.join(", "))),
            };
            let message = format!("`{key}` is no parameter of this request");
            self.refuse(&key, Refusal { code: "unknown_parameter", message, hint });
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        let detail = format!("{} parameter(s) of the query are wrong", self.errors.len());
        let title = "Parameters of the request are wrong";
        Err(Failure::new(StatusCode::BAD_REQUEST, "invalid", title, detail).with_errors(self.errors))
    }
}

fn switch(value: &Value) -> Result<bool, Refusal> {
    value::word(value, &[("true", true), ("false", false)])
}

#[cfg(test)]
mod tests {
    use axum::extract::FromRequestParts as _;
    use axum::http::Request;

    use super::Parameters;
    use crate::app::list::{ListQuery, Start};

    async fn parameters(query: &str) -> Parameters {
        let request = Request::get(format!("/ports?{query}")).body(()).unwrap();
        let Ok(parameters) = Parameters::from_request_parts(&mut request.into_parts().0, &()).await;
        parameters
    }

    async fn refused(query: &str) -> Vec<(String, String)> {
        let failure = parameters(query).await.list_query().unwrap_err();
        failure.problem.errors.into_iter().map(|error| (error.pointer, error.code)).collect()
    }

    #[tokio::test]
    async fn a_query_of_a_list_is_read() {
        let query = "limit=5&page=2&sortBy=name&ascending=false&name=a&name=b&label_selector=a%3Db,c";
        let read = parameters(query).await.list_query().unwrap();
        let filters = vec![("name".to_owned(), vec!["a".to_owned(), "b".to_owned()])];
        let selector = edgestack_model::Selector::parse("a=b,c").unwrap();
        let sort_by = Some("name".to_owned());
        let start = Start::Page(2);
        assert_eq!(read, ListQuery { filters, selector, sort_by, descending: true, limit: Some(5), start });
        assert_eq!(parameters("").await.list_query().unwrap(), ListQuery::default());
    }

    #[tokio::test]
    async fn everything_that_is_wrong_is_named() {
        let wrong = "limit=0&page=x&ascending=down&label_selector=a%20b&continue=00&continue=01";
        let found = refused(wrong).await;
        let wanted = [
            ("?limit", "out_of_range"),
            ("?page", "wrong_type"),
            ("?continue", "duplicate"),
            ("?ascending", "invalid_value"),
            ("?label_selector", "invalid_selector"),
        ];
        assert_eq!(found, wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned())));
        assert_eq!(refused("page=2").await[0].0, "?page");
        assert_eq!(refused("page=2&limit=1&continue=00").await[0].1, "not_allowed");
        assert_eq!(refused(&"a=b&".repeat(65)).await[0].1, "too_many");
        let mut some = parameters("dry_rum=true").await;
        assert!(!some.flag("dry_run"));
        let failure = some.finish().unwrap_err();
        assert_eq!(failure.problem.errors[0].hint.as_deref(), Some("did you mean `dry_run`?"));
    }
}
