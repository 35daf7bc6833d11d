//! `docs/logging.md` lists each target and each log line of the sources, and no other.

#[path = "support/pages.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use support::{pages, read, root};

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Level, target, message and fields of a line.
type Line = (String, String, String, String);

#[test]
fn the_page_lists_each_line_and_no_other() {
    let (files, targets) = (sources(), targets());
    let logged: BTreeSet<_> =
        files.iter().flat_map(|file| logged_by(&without_tests(file), &targets)).collect();
    let listed = listed_on(&read("docs/logging.md"));
    assert!(logged.len() > 30, "the sources were read: {logged:#?}");
    let (missing, stale): (Vec<_>, Vec<_>) =
        (logged.difference(&listed).collect(), listed.difference(&logged).collect());
    assert!(missing.is_empty() && stale.is_empty(), "not on the page: {missing:#?}, only there: {stale:#?}");
}

/// Without an explicit target, `tracing` takes the path of the module, and a move of the code breaks users' filters.
#[test]
fn each_event_and_span_names_a_target() {
    let (mut seen, mut without) = (0, Vec::new());
    for file in sources() {
        let source = without_comments(&without_tests(&file));
        let calls = targetless(&source);
        without.extend(calls.1.into_iter().map(|call| format!("{}: {call}", file.display())));
        seen += calls.0;
    }
    assert!(seen > 40, "the sources were read: {seen}");
    assert!(without.is_empty(), "without `target: target::…`: {without:#?}");
}

#[test]
fn a_missing_target_is_found_in_whatever_form() {
    for (source, expected) in [
        (r#"tracing::info!(target: target::SPOOL, "it works");"#, None),
        ("warn!(\n    target: target::SPOOL,\n    lost,\n    \"lost\"\n)", None),
        (r#"tracing::info_span!(target: target::CLIENT, "posthog")"#, None),
        ("span.in_scope(work); debug_assert!(x); assert!(warn); format!(\"{error}\")", None),
        (r#"tracing::info!("it works");"#, Some("info!")),
        (r#"warn!(lost, "lost")"#, Some("warn!")),
        (r#"tracing::event!(Level::WARN, "lost")"#, Some("event!")),
        (r#"tracing::event! { target: "posthog_health::elsewhere", Level::WARN, "lost" }"#, Some("event!")),
        (r#"debug_span!("work")"#, Some("debug_span!")),
        (r#"tracing::span!(Level::INFO, "work")"#, Some("span!")),
        (r#"tracing::enabled!(Level::WARN)"#, Some("enabled!")),
        ("#[tracing::instrument(skip_all)]\nfn work() {}", Some("instrument(")),
    ] {
        let found = targetless(source).1;
        let found = found.first().map(String::as_str);
        assert_eq!(found.map(|call| call.split_inclusive(['!', '(']).next().unwrap()), expected, "{source}");
    }
}

#[test]
fn the_page_lists_each_target_and_no_other() {
    let page = read("docs/logging.md");
    let listed: BTreeSet<_> = rows(&page, "| target |").map(|row| row[0].clone()).collect();
    assert_eq!(listed, targets().into_values().collect());
}

/// In filters and in lines that are shown.
#[test]
fn pages_show_no_other_target() {
    let known: BTreeSet<_> = targets().into_values().collect();
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for line in text.lines().filter(|line| line.contains("RUST_LOG") || line.contains("posthog{host=")) {
            for (at, _) in line.match_indices("posthog_health") {
                let path = line[at..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next();
                let path = path.unwrap().trim_end_matches(':');
                assert!(known.contains(path), "{}: {line}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 3, "the pages were read: {seen}");
}

/// The targets by the name of their constant.
fn targets() -> BTreeMap<String, String> {
    let source = read("src/rt/target.rs");
    let constants =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = "));
    constants
        .map(|(name, target)| (name.to_owned(), target.trim_matches(['"', ';']).to_owned()))
        .inspect(|(_, target)| assert!(target.starts_with("posthog_health"), "{target}"))
        .collect()
}

/// How many events, spans and questions about them there are, and those that name no constant as their target.
fn targetless(source: &str) -> (usize, Vec<String>) {
    let mut names: Vec<_> =
        ["event!", "span!", "enabled!", "event_enabled!", "span_enabled!"].map(str::to_owned).into();
    names.extend(LEVELS.iter().flat_map(|level| [format!("{level}!"), format!("{level}_span!")]));
    names.push("instrument(".to_owned());
    let (mut seen, mut without) = (0, Vec::new());
    for name in names {
        for (at, _) in source.match_indices(&name) {
            if source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            // `future.instrument(span)` takes a span, which has its target.
            if source[..at].ends_with('.') {
                continue;
            }
            seen += 1;
            let arguments = source[at + name.len()..].trim_start().trim_start_matches(['(', '[', '{']);
            if !arguments.trim_start().starts_with("target: target::") {
                without.push(source[at..].lines().next().unwrap().to_owned());
            }
        }
    }
    (seen, without)
}

/// The sources that are not tests.
fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    find(&root().join("src"), &mut files);
    files
}

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

fn without_tests(file: &Path) -> String {
    let source = fs::read_to_string(file).unwrap();
    source.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned()
}

fn without_comments(source: &str) -> String {
    source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.to_owned() + "\n")
        .collect()
}

fn logged_by(source: &str, targets: &BTreeMap<String, String>) -> Vec<Line> {
    let mut lines = Vec::new();
    for level in LEVELS {
        for (what, called) in [("", format!("{level}!(")), ("span ", format!("{level}_span!("))] {
            for arguments in calls(source, &called) {
                let (named, rest): (Vec<_>, Vec<_>) =
                    arguments.into_iter().partition(|argument| argument.starts_with("target: "));
                let (texts, fields): (Vec<_>, Vec<_>) =
                    rest.into_iter().partition(|argument| argument.starts_with('"'));
                let [named] = named[..] else { panic!("{called} without a target: {texts:?}") };
                let target = &targets[named.trim_start_matches("target: target::")];
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
    rows(page, "| level | target |")
        .map(|row| {
            let [level, target, message, fields, what_to_do] = &row[..] else {
                panic!("five cells: {row:?}")
            };
            assert!(!what_to_do.is_empty(), "{row:?}");
            (level.clone(), target.clone(), message.clone(), fields.clone())
        })
        .collect()
}

/// The cells of the table whose head begins so.
fn rows<'a>(page: &'a str, head: &str) -> impl Iterator<Item = Vec<String>> + use<'a> {
    let (_, table) = page.split_once(&format!("\n{head}")).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect())
}
