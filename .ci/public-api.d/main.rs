//! Prints the public API that rustdoc's JSON tells of, a line for each item; of what is derived, only that it is.
use std::collections::HashSet;

/// How the compiler and pin-project-lite write down what is derived.
const INTERNAL: [&str; 3] =
    ["core::marker::StructuralPartialEq", "core::clone::TrivialClone", "pin_project_lite::__private"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let json = std::env::args_os().nth(1).ok_or("rustdoc's JSON?")?;
    let api =
        public_api::Builder::from_rustdoc_json(json).omit_blanket_impls(true).omit_auto_trait_impls(true);
    let written = api.clone().omit_auto_derived_impls(true).build()?;
    let written: HashSet<_> = written.items().map(ToString::to_string).collect();
    for line in api.build()?.items().map(ToString::to_string) {
        let is_internal = INTERNAL.iter().any(|it| line.contains(it));
        if !is_internal && (line.starts_with("impl") || written.contains(&line)) {
            println!("{line}");
        }
    }
    Ok(())
}
