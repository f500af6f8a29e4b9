//! Tagged, extensible fields: `tag varint | length varint | bytes`, tags strictly ascending.
//!
//! A reader keeps fields it does not know, so that an older version can copy what a newer one wrote.

use delta_core::varint;

/// The bytes are not fields in their one encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// Bytes end early, or a number has a needlessly long form.
    #[error("fields are cut short")]
    Truncated,
    /// Fields are out of order or twice there.
    #[error("field {tag} is out of order")]
    Order {
        /// The field at fault.
        tag: u64,
    },
    /// A field holds something its tag does not allow.
    #[error("field {tag} has an impossible value")]
    Value {
        /// The field at fault.
        tag: u64,
    },
}

/// Appends fields to a buffer; callers keep the tags ascending.
pub(crate) struct FieldWriter<'a> {
    out: &'a mut Vec<u8>,
    last_tag: Option<u64>,
}

impl<'a> FieldWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, last_tag: None }
    }

    pub(crate) fn bytes(&mut self, tag: u64, value: &[u8]) {
        debug_assert!(self.last_tag.is_none_or(|last| last < tag), "tags ascend");
        self.last_tag = Some(tag);
        varint::put(tag, self.out);
        put_bytes(value, self.out);
    }

    pub(crate) fn number(&mut self, tag: u64, value: u64) {
        let mut bytes = Vec::with_capacity(10);
        varint::put(value, &mut bytes);
        self.bytes(tag, &bytes);
    }

    pub(crate) fn numbers(&mut self, tag: u64, values: &[u64]) {
        let mut bytes = Vec::with_capacity(10 * values.len());
        for value in values {
            varint::put(*value, &mut bytes);
        }
        self.bytes(tag, &bytes);
    }
}

/// Reads fields to the end of a slice. Tags are numbered from 1, so what a later version adds comes after the others.
pub(crate) struct FieldReader<'a> {
    rest: &'a [u8],
    last_tag: u64,
}

impl<'a> FieldReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, last_tag: 0 }
    }

    pub(crate) fn next(&mut self) -> Result<Option<(u64, &'a [u8])>, FieldError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = varint::take(&mut self.rest).ok_or(FieldError::Truncated)?;
        let value = take_bytes(&mut self.rest).ok_or(FieldError::Truncated)?;
        if self.last_tag >= tag {
            return Err(FieldError::Order { tag });
        }
        self.last_tag = tag;
        Ok(Some((tag, value)))
    }
}

/// One number that fills the whole field and fits `T`.
pub(crate) fn number<T: TryFrom<u64>>(tag: u64, value: &[u8]) -> Result<T, FieldError> {
    let [number] = numbers(tag, value)?;
    T::try_from(number).map_err(|_| FieldError::Value { tag })
}

/// `N` numbers that fill the whole field.
pub(crate) fn numbers<const N: usize>(tag: u64, mut value: &[u8]) -> Result<[u64; N], FieldError> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = varint::take(&mut value).ok_or(FieldError::Value { tag })?;
    }
    if value.is_empty() { Ok(numbers) } else { Err(FieldError::Value { tag }) }
}

/// UTF-8 text.
pub(crate) fn text(tag: u64, value: &[u8]) -> Result<String, FieldError> {
    String::from_utf8(value.to_vec()).map_err(|_| FieldError::Value { tag })
}

pub(crate) fn put_bytes(value: &[u8], out: &mut Vec<u8>) {
    varint::put(value.len() as u64, out);
    out.extend_from_slice(value);
}

pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint::take(bytes)?).ok()?;
    let (value, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(value)
}
