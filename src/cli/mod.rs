//! The commands. A binary sees only the public API, so their code lives here; one hidden function enters each.

mod preflight;

pub use preflight::main as preflight_main;
