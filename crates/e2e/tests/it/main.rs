//! The real binaries against each other.
