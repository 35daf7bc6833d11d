//! Every call into redb goes through here: a damaged page may make it panic, and that must cost no more than
//! an error does.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::Error;

use super::changes::OpenError;

/// Why a call into redb did not do what was asked.
pub enum Failure {
    Refused(Error),
    Panicked(String),
}

pub fn guarded<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(Failure::Refused),
        Err(panic) => Err(Failure::Panicked(text(&*panic))),
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(Error::Io(error)) => error,
            Failure::Refused(Error::Corrupted(what)) => Self::new(io::ErrorKind::InvalidData, what),
            Failure::Refused(error) => Self::other(error),
            Failure::Panicked(text) => Self::new(io::ErrorKind::InvalidData, text),
        }
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch) => Self::Locked,
            Failure::Refused(Error::Io(error)) if !tells_of_damage(&error) => Self::Io(error),
            Failure::Refused(Error::PreviousIo) => Self::Io(io::Error::other(Error::PreviousIo)),
            Failure::Refused(error) => Self::Damaged(error.to_string()),
            Failure::Panicked(text) => Self::Damaged(text),
        }
    }
}

/// What reading beyond the end of a file, or something that is no database, comes to.
fn tells_of_damage(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(error.kind(), UnexpectedEof | InvalidData | InvalidInput)
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("redb panicked: {}", text.unwrap_or("no message"))
}
