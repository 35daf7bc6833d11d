//! What looks at a block of each kind. `None`: nothing is wrong with it.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use posthog_health::AlertName;

use crate::block::Block;
use crate::known::{cargo, collect_keys, fields_of, is_feature, is_field, keys_of};
use crate::support::{files, read, root};

pub(crate) type Look = fn(&Block) -> Option<String>;

pub(crate) fn rust(block: &Block) -> Option<String> {
    let is_included = read("src/pages.rs").contains(&format!("include_str!(\"../{}\")", block.page));
    let is_test = block.code.contains("test]\n");
    let tests = files(&root().join("tests"), "rs");
    let is_run = || tests.iter().any(|file| fs::read_to_string(file).unwrap().ends_with(&block.code));
    match (is_included, is_test) {
        (false, _) => Some("the page is not in src/pages.rs".into()),
        (true, true) if !is_run() => Some("no file of tests is this".into()),
        _ => None,
    }
}

pub(crate) fn sh(block: &Block) -> Option<String> {
    let parsed = Command::new("bash").args(["-n", "-c", &block.code]).output().unwrap();
    if !parsed.status.success() {
        return Some(String::from_utf8_lossy(&parsed.stderr).into_owned());
    }
    let options = read("docs/preflight.md");
    for line in block.code.lines() {
        let line = line.split(" #").next().unwrap();
        if let Some((_, arguments)) = line.split_once("posthog-preflight ") {
            let given = arguments.split(' ').filter(|word| word.starts_with("--"));
            let unknown: Vec<_> = given.filter(|option| !options.contains(&format!("| `{option}"))).collect();
            if !unknown.is_empty() {
                return Some(format!("not an option of posthog-preflight: {unknown:?}"));
            }
        }
        let ours = line.contains("look /");
        if let Some((_, filter)) = line.split_once("| jq ").filter(|_| ours) {
            let unknown: Vec<_> = fields_of(filter).filter(|field| !is_field(field)).collect();
            if !unknown.is_empty() {
                return Some(format!("not in a report: {unknown:?}"));
            }
        }
    }
    None
}

/// Cargo reads it as a manifest, and would find this package by it.
pub(crate) fn toml(block: &Block) -> Option<String> {
    let section = if block.code.starts_with('[') { "" } else { "[dependencies]\n" };
    let package = "[package]\nname = \"reader\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("src")).unwrap();
    fs::write(directory.path().join("src/lib.rs"), "").unwrap();
    let manifest = directory.path().join("Cargo.toml");
    fs::write(&manifest, format!("{package}\n{section}{}", block.code)).unwrap();
    let read_by_cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline", "--manifest-path"])
        .arg(&manifest)
        .output()
        .unwrap();
    if !read_by_cargo.status.success() {
        return Some(String::from_utf8_lossy(&read_by_cargo.stderr).into_owned());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&read_by_cargo.stdout).unwrap();
    let dependencies = metadata["packages"][0]["dependencies"].as_array().unwrap();
    let Some(ours) = dependencies.iter().find(|dependency| dependency["name"] == "posthog-health") else {
        return Some("does not name this package".into());
    };
    let (own, wanted) = (env!("CARGO_PKG_VERSION"), ours["req"].as_str().unwrap().trim_start_matches('^'));
    let features: Vec<_> =
        ours["features"].as_array().unwrap().iter().map(|feature| feature.as_str().unwrap()).collect();
    let manifest = read("Cargo.toml");
    if !own.starts_with(wanted) {
        return Some(format!("asks for {wanted}, this is {own}"));
    }
    (!features.iter().all(|feature| is_feature(&manifest, feature)))
        .then(|| format!("features: {features:?}"))
}

/// Each line a value. Its keys are fields of what we show, or what a filter of jq on the same page calls them.
pub(crate) fn json(block: &Block) -> Option<String> {
    let page = read(&block.page);
    let renamed: BTreeSet<_> = page.lines().filter(|line| line.contains("jq ")).flat_map(keys_of).collect();
    for line in block.code.lines() {
        let value: serde_json::Value = match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) => return Some(error.to_string()),
        };
        let mut keys = BTreeSet::new();
        collect_keys(&value, &mut keys);
        let unknown: Vec<_> =
            keys.iter().filter(|key| !is_field(key) && !renamed.contains(key.as_str())).collect();
        if !unknown.is_empty() {
            return Some(format!("not in a report: {unknown:?}"));
        }
    }
    None
}

pub(crate) fn yaml(block: &Block) -> Option<String> {
    let checked = read(".ci/kubernetes").contains(&block.page);
    (!checked).then(|| "the page is not in .ci/kubernetes".into())
}

pub(crate) fn report_of_a_preflight(block: &Block) -> Option<String> {
    let compared = read("tests/preflight/pages.rs").contains("fn the_sample_reports_are_what_it_prints()");
    let is_report = block.code.starts_with("1. Pre-Deployment Configuration\n");
    (!is_report || !compared).then(|| "no report of a preflight".into())
}

/// What `look`, `ask` and `logs` print.
pub(crate) fn alerts_and_log_lines(block: &Block) -> Option<String> {
    let logging = read("docs/logging.md");
    let unknown = block.code.lines().find(|line| {
        let is_alert = AlertName::all()
            .any(|alert| line.contains(&format!(" {} ", alert.code())) && line.ends_with(alert.runbook()));
        let is_series = line
            .split_once('\t')
            .is_some_and(|(value, labels)| value.parse::<f64>().is_ok() && labels.contains('='));
        let message = line.split_once(": posthog_health::").and_then(|(_, rest)| {
            let (target, text) = rest.split_once(": ")?;
            let fixed = text.split([':', '=']).next()?;
            Some(logging.contains(&format!(
                "`posthog_health::{target}` | `{}",
                fixed.trim_end_matches(" probe_in").trim_end_matches(" breaker")
            )))
        });
        !(is_alert || is_series || message == Some(true))
    });
    unknown.map(|line| format!("neither an alert, a series nor a line of docs/logging.md: {line}"))
}

/// A bench that there is; or what one printed, under its command.
pub(crate) fn commands_or_what_they_printed(block: &Block) -> Option<String> {
    let named = block.code.lines().find(|line| line.starts_with("cargo "));
    match named {
        Some(command) => cargo(command),
        None => (!block.before.contains("cargo bench")).then(|| "under no command".into()),
    }
}
