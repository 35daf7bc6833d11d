//! The pages that somebody needs at night: whether they exist, and whether they are filled in.

use std::fs;
use std::io;
use std::path::Path;

use super::check::{CheckId, Finding, Findings};

/// The pages' file names.
const PAGES: [(CheckId, &str); 4] = [
    (CheckId::Runbook, "runbook.md"),
    (CheckId::KeyRotation, "key-rotation.md"),
    (CheckId::Rollback, "rollback.md"),
    (CheckId::Escalation, "escalation.md"),
];

pub const IDS: &[CheckId] = &[PAGES[0].0, PAGES[1].0, PAGES[2].0, PAGES[3].0];

pub fn read(directory: Option<&Path>) -> Findings {
    let page = |name| match directory {
        None => Finding::skipped("no directory was named (--docs)"),
        Some(directory) => judge(name, fs::read_to_string(directory.join(name))),
    };
    PAGES.map(|(id, name)| (id, page(name))).into()
}

fn judge(name: &str, text: io::Result<String>) -> Finding {
    match text.map(|text| (text.trim().is_empty(), unfilled(&text))) {
        Err(error) => Finding::fail(
            format!("{name}: {}", error.kind()),
            format!("write it there, from docs/{name} of the library's repository"),
        ),
        Ok((true, _)) => Finding::fail(
            format!("{name} is empty"),
            format!("write it, from docs/{name} of the library's repository"),
        ),
        Ok((false, unfilled)) => match unfilled.first() {
            None => Finding::pass(format!("{name}, nothing left to fill in")),
            Some((line, what)) => Finding::fail(
                format!("{name}: {} to fill in, the first in line {line}: {what}", unfilled.len()),
                "fill them in before anybody needs them",
            ),
        },
    }
}

/// Finds the gaps that are left to fill in, each with its line number. Code is skipped, because a command's `<pod>` is
/// filled in when the command is used; only a marker that says `fill in` counts there too.
pub fn unfilled(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<&str> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        // With more backticks in the line it is a code span.
        let mark = mark.filter(|_| !trimmed.trim_start_matches('`').contains('`'));
        let is_code = fence.is_some() || mark.is_some();
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            _ => {}
        }
        let prose: String = if is_code { String::new() } else { without_code_spans(line) };
        found.extend(
            marked(line)
                .chain(left_open(&prose))
                .take(1)
                .map(|what| (number, what.chars().take(60).collect())),
        );
    }
    found
}

/// Removes the text between backticks.
fn without_code_spans(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Finds the marker of our own templates.
fn marked(line: &str) -> impl Iterator<Item = String> {
    angles(line)
        .filter(|(_, inner)| inner.to_ascii_lowercase().starts_with("fill in"))
        .map(|(_, inner)| format!("<{inner}>"))
}

fn left_open(prose: &str) -> impl Iterator<Item = String> {
    const WORDS: [&str; 4] = ["TODO", "TBD", "FIXME", "XXX"];
    let words = prose.split(|c: char| !c.is_alphanumeric() && c != '_');
    let words = words.filter(|word| WORDS.contains(word)).map(str::to_owned);
    let braces = prose.split_once("{{").and_then(|(_, rest)| rest.split_once("}}"));
    let braces = braces.map(|(inner, _)| format!("{{{{{inner}}}}}"));
    let angles = angles(prose)
        .filter(|(before, inner)| is_to_fill_in(*before, inner))
        .map(|(_, inner)| format!("<{inner}>"));
    let contact =
        ["@example.", "@yourcompany", "@your-company"].into_iter().find(|contact| prose.contains(contact));
    words.chain(braces).chain(angles).chain(contact.map(str::to_owned))
}

/// Finds texts in angle brackets, each with the character before it.
fn angles(text: &str) -> impl Iterator<Item = (Option<char>, &str)> {
    text.match_indices('<').filter_map(|(at, _)| {
        let (inner, _) = text[at + 1..].split_once('>')?;
        Some((text[..at].chars().next_back(), inner))
    })
}

/// Distinguishes `<your name>` from `<br>`, `<https://…>`, `Vec<String>`, `a < b and c > d` and `<!-- a comment -->`.
fn is_to_fill_in(before: Option<char>, inner: &str) -> bool {
    const TAGS: &str = "a abbr b blockquote br center code dd del details div dl dt em h1 h2 h3 hr i img kbd li ol p \
        picture pre source span strong sub summary sup table tbody td th thead tr u ul";
    let name = inner.trim_end_matches('/').split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    let is_tag = TAGS.split(' ').any(|tag| tag == name);
    let is_link = inner.contains("://")
        || inner.starts_with("mailto:")
        || (inner.contains('@') && !inner.contains(' '));
    let begins_as_one = inner.chars().next().is_some_and(|c| c.is_alphanumeric() || "._-…".contains(c));
    begins_as_one && !is_tag && !is_link && !before.is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::CheckStatus::{Fail, Pass};

    #[test]
    fn what_is_left_to_fill_in_is_found() {
        for text in [
            "call <your name>",
            "On-call: TODO",
            "TBD",
            "phone: XXX",
            "FIXME: who?",
            "| P1 | <fill in: name> |",
            "write to oncall@example.com",
            "region {{ region }}",
            "<name>, <phone>",
            "`<fill in: the command>`",
            "```\n<fill in: the command>\n```",
            "see <...>",
            "```a span, no block```\nTODO",
        ] {
            assert_eq!(unfilled(text).len(), 1, "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for text in [
            "a<br>b<br/>c",
            "<details><summary>more</summary></details>",
            "see <https://example.com/x>",
            "<oncall@shop.io>",
            "`kubectl delete pod <pod>`",
            "```sh\nkubectl logs <pod> # TODO later\n```",
            "Vec<String>",
            "if a < b and c > d",
            "<!-- TODOS of the page -->",
            "</div>",
            "TODOs and XXXL",
            "~~~\n{{ template }}\n~~~",
            "it is at example.com/ingest",
            "a `{{ mustache }}` in code",
        ] {
            assert_eq!(unfilled(text), [], "{text}");
        }
    }

    #[test]
    fn a_page_is_there_and_says_something() {
        let judged = |text: io::Result<&str>| judge("runbook.md", text.map(str::to_owned));
        assert_eq!(judged(Ok("# Runbook\n\nLook first.")).status, Pass);
        assert_eq!(judged(Ok(" \n")).status, Fail);
        assert_eq!(judged(Err(io::ErrorKind::NotFound.into())).status, Fail);
        let unfilled = judged(Ok("# Runbook\n\nCall <fill in: whom>.\nTODO"));
        assert_eq!(unfilled.status, Fail);
        assert!(
            unfilled.seen.ends_with("2 to fill in, the first in line 3: <fill in: whom>"),
            "{}",
            unfilled.seen
        );
    }
}
