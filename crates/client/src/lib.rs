//! The backup client as a library.
