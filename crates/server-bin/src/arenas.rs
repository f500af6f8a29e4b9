//! What glibc keeps of memory that was freed: each thread frees into an arena, of which there may be eight for each core, and what
//! lies there is of no use to the others.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What glibc reads when a program starts, and only then.
const VARIABLE: &str = "MALLOC_ARENA_MAX";
/// Two threads at work on two chunks seldom wait for each other.
const COUNT: &str = "2";

/// Starts this program anew, as the same process, with a few arenas. Comes back when whoever started it, or this function, has said
/// how many; also when it cannot be done, for it takes only some more memory.
pub(crate) fn limit() {
    if env::var_os(VARIABLE).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // It comes back with an error only, and there is no log yet that could tell it.
    drop(command.args(arguments).env(VARIABLE, COUNT).exec());
}
