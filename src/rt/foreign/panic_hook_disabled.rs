//! Without the SDK's error tracking there is no panic hook of the SDK.

pub struct Caught;

impl Caught {
    pub fn enter() -> Self {
        Self
    }
}

pub fn expect_panic_hook() {}
