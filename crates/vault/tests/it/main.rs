//! What the vault promises: what is sealed opens unchanged or not at all; trees and lists are functions of their
//! entries; a small change costs few pages; hostile bytes are refused.

mod delta;
mod flips;
mod golden;
mod key_file;
mod keys;
mod pages;
mod seal;
mod sealed;
mod store;
