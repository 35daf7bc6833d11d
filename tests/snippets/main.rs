//! Each block of code on a page is of a kind that something checks, and this is what:
//!
//! | kind | checked by |
//! |---|---|
//! | `rust` | doctests, through `src/pages.rs`; what has a `#[test]` is a file in `tests` |
//! | `sh` | bash's parser; cargo's targets, features and options, ours and jq's fields here; PromQL in `.ci/monitoring` |
//! | `toml` | cargo reads it |
//! | `json` | a parser; its keys are fields of ours |
//! | `yaml` | `.ci/kubernetes` |
//! | `text` | what prints it, named in [`PRINTED`] |

mod block;
mod kinds;
mod known;
#[path = "../support/pages.rs"]
mod support;

use std::fs;

use block::{Block, blocks};
use support::pages;

/// What looks at a page's `text`.
const PRINTED: [(&str, kinds::Look); 3] = [
    ("docs/preflight.md", kinds::report_of_a_preflight),
    ("docs/runbook.md", kinds::alerts_and_log_lines),
    ("benches/README.md", kinds::commands_or_what_they_printed),
];

#[test]
fn each_block_is_of_a_kind_that_something_checks() {
    let blocks = blocks();
    let problems: Vec<_> = blocks
        .iter()
        .filter_map(|block| {
            let look: kinds::Look = match block.kind.as_str() {
                "rust" | "rust,no_run" => kinds::rust,
                "sh" => kinds::sh,
                "toml" => kinds::toml,
                "json" => kinds::json,
                "yaml" => kinds::yaml,
                "text" => printed,
                _ => |_| Some("nothing checks this kind".into()),
            };
            look(block).map(|problem| format!("{}:{} {}: {problem}", block.page, block.line, block.kind))
        })
        .collect();
    assert!(blocks.len() > 60, "the pages were read: {}", blocks.len());
    assert!(problems.is_empty(), "{problems:#?}");
}

fn printed(block: &Block) -> Option<String> {
    let look = PRINTED.iter().find(|(page, _)| *page == block.page);
    look.map_or(Some("nothing looks at it".into()), |(_, look)| look(block))
}

/// In the text too.
#[test]
fn each_cargo_command_can_be_given() {
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let commands =
            text.match_indices("cargo ").map(|(at, _)| text[at..].split(['\n', '`', '|', '#', ';']));
        for command in commands.filter_map(|mut rest| rest.next()) {
            let problem = known::cargo(command);
            seen += usize::from(command.contains("--"));
            assert_eq!(problem, None, "{}: {command}", page.display());
        }
    }
    assert!(seen > 15, "the pages were read: {seen}");
}
