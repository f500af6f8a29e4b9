//! [`PageQuery`]: pages of lists that are short as a rule. They are read whole, and given out in parts.

use axum::http::{StatusCode, Uri};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::rest::parse::query;
use crate::rest::problem::{self, Problem};

/// Most items of a page, and as many as one has that nobody asked for otherwise.
const LEN_MAX: usize = 1000;

/// Which part of a list is wanted.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Where the page before ended, as it said.
    #[serde(default)]
    pub(super) cursor: Option<String>,
    /// 1 to 1000, which is also what it is when nothing is said.
    #[serde(default)]
    pub(super) limit: Option<usize>,
}

impl PageQuery {
    pub(super) fn of(uri: &Uri) -> Result<Self, Problem> {
        query(uri)
    }

    /// The part of `all` that is wanted, and the cursor of the one after it. `name` is what tells an item from the others.
    ///
    /// # Errors
    /// [`Problem`] when the item that the page before ended with is not in the list any more.
    pub(super) fn cut<T>(
        self,
        mut all: Vec<T>,
        name: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        let start = match &self.cursor {
            None => 0,
            Some(cursor) => {
                let last = all.iter().position(|item| name(item) == *cursor);
                let gone = || problem::new(StatusCode::BAD_REQUEST, "the list has changed: begin without a cursor");
                last.ok_or_else(gone)? + 1
            }
        };
        let mut page = all.split_off(start);
        let limit = self.limit.unwrap_or(LEN_MAX).clamp(1, LEN_MAX);
        let is_more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| is_more).map(name);
        Ok((page, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let all: Vec<u32> = (0..2500).collect();
        for limit in [None, Some(0), Some(1), Some(7), Some(500), Some(2500), Some(usize::MAX)] {
            let (mut found, mut cursor) = (Vec::new(), None);
            loop {
                let asked = PageQuery { cursor, limit };
                let (page, next) = asked.cut(all.clone(), u32::to_string).unwrap();
                assert_eq!(page.len(), limit.unwrap_or(LEN_MAX).clamp(1, LEN_MAX).min(all.len() - found.len()));
                found.extend(page);
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(found, all, "{limit:?}");
        }
        let gone = PageQuery { cursor: Some("2500".to_owned()), limit: None };
        assert!(gone.cut(all, u32::to_string).is_err());
        assert_eq!(PageQuery::default().cut(Vec::new(), u32::to_string).unwrap(), (Vec::new(), None));
    }
}
