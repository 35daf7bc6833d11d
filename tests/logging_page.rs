//! `docs/logging.md` lists each log line of the sources, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Level, target, message and fields of a line.
type Line = (String, String, String, String);

#[test]
fn the_page_lists_each_line_and_no_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    find(&root.join("src"), &mut files);
    let logged: BTreeSet<_> = files.iter().flat_map(|file| logged_by(root, file)).collect();
    let listed = listed_on(&fs::read_to_string(root.join("docs/logging.md")).unwrap());
    assert!(logged.len() > 30, "the sources were read: {logged:#?}");
    let (missing, stale): (Vec<_>, Vec<_>) =
        (logged.difference(&listed).collect(), listed.difference(&logged).collect());
    assert!(missing.is_empty() && stale.is_empty(), "not on the page: {missing:#?}, only there: {stale:#?}");
}

/// The sources that are not tests.
fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

fn logged_by(root: &Path, file: &Path) -> Vec<Line> {
    let source = fs::read_to_string(file).unwrap();
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let path = file.strip_prefix(root.join("src")).unwrap().with_extension("");
    let modules =
        path.iter().map(|name| name.to_str().unwrap()).filter(|name| !["mod", "lib"].contains(name));
    let target = ["posthog_health"].into_iter().chain(modules).collect::<Vec<_>>().join("::");
    let mut lines = Vec::new();
    for level in ["error", "warn", "info", "debug", "trace"] {
        for (what, called) in [("", format!("{level}!(")), ("span ", format!("{level}_span!("))] {
            for arguments in calls(source, &called) {
                let (texts, fields): (Vec<_>, Vec<_>) =
                    arguments.into_iter().partition(|argument| argument.starts_with('"'));
                let fields: Vec<_> = fields.into_iter().map(field).collect();
                let [text] = texts[..] else { panic!("{called} without one message in {target}: {texts:?}") };
                // A message that its function was given.
                let given = calls(source, ".refuse(");
                let texts = if message(text) == "…" { given.concat() } else { vec![text] };
                let messages = texts.into_iter().filter(|text| text.contains('"')).map(message);
                lines.extend(messages.map(|message| {
                    (level.to_owned(), target.clone(), format!("{what}{message}"), fields.join(", "))
                }));
            }
        }
    }
    lines
}

/// The arguments of each such call.
fn calls<'a>(source: &'a str, called: &str) -> Vec<Vec<&'a str>> {
    source.match_indices(called).map(|(at, _)| arguments(&source[at + called.len()..])).collect()
}

/// What stands between commas up to the closing parenthesis.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut is_quoted, mut begin, mut found) = (0, false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            ')' | ',' if depth == 0 => {
                found.push(text[begin..at].trim());
                begin = at + 1;
                if c == ')' {
                    break;
                }
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    found.retain(|argument| !argument.is_empty());
    found
}

/// `file = %path` and `?file` are `file`.
fn field(argument: &str) -> &str {
    argument.split('=').next().unwrap().trim().trim_start_matches(['?', '%'])
}

/// What is between the quotes, and `…` for what varies.
fn message(argument: &str) -> String {
    let (_, text) = argument.split_once('"').unwrap();
    let (text, _) = text.rsplit_once('"').unwrap();
    let mut parts = text.split('{');
    let fixed = parts.next().unwrap().to_owned();
    parts.fold(fixed, |message, part| message + "…" + part.split_once('}').unwrap().1)
}

fn listed_on(page: &str) -> BTreeSet<Line> {
    let rows = page.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| {
        let cells: Vec<_> =
            row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [level, target, message, fields, what_to_do] = &cells[..] else { panic!("five cells: {row}") };
        assert!(!what_to_do.is_empty(), "{row}");
        (level.clone(), target.clone(), message.clone(), fields.clone())
    })
    .collect()
}
