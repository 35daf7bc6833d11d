//! What there is to be named: targets, features, fields.

use std::collections::BTreeSet;
use std::fs;

use crate::support::{files, read, root};

/// What is said to cargo of this package: targets and features that there are.
pub(crate) fn cargo(command: &str) -> Option<String> {
    let manifest = read("Cargo.toml");
    let words: Vec<_> = command.split_whitespace().collect();
    for pair in words.windows(2) {
        let name = pair[1].trim_end_matches(['.', ',', ')']);
        let known = match pair[0] {
            "--example" | "--bench" | "--bin" => {
                let folder = pair[0].trim_start_matches('-').replace("bench", "benche") + "s";
                manifest.contains(&format!("name = \"{name}\""))
                    || root().join(folder).join(format!("{name}.rs")).exists()
            }
            "--test" => ["", "/main"].iter().any(|end| root().join(format!("tests/{name}{end}.rs")).exists()),
            "--features" if command.starts_with("cargo add") => {
                !command.contains("posthog-health") || is_feature(&manifest, name)
            }
            "--features" => name.split(',').all(|name| is_feature(&manifest, name)),
            _ => true,
        };
        if !known {
            return Some(format!("there is no {} {name}", pair[0]));
        }
    }
    None
}

pub(crate) fn is_feature(manifest: &str, name: &str) -> bool {
    let (_, features) = manifest.split_once("[features]\n").unwrap();
    let features = features.split("\n[").next().unwrap();
    features.lines().any(|line| line.starts_with(&format!("{name} = ")))
}

/// `.ledger.queued` are two.
pub(crate) fn fields_of(filter: &str) -> impl Iterator<Item = &str> {
    let words = filter.split(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_');
    words
        .filter(|word| word.starts_with('.'))
        .flat_map(|word| word.split('.'))
        .filter(|word| !word.is_empty())
}

/// `{pod, waiting: …}`: what a filter makes.
pub(crate) fn keys_of(line: &str) -> impl Iterator<Item = &str> {
    let made = line.split(['{', ',']).skip(1).map(|part| part.trim().split([':', '}']).next().unwrap());
    made.filter(|key| key.chars().all(|c| c.is_ascii_alphanumeric()))
}

pub(crate) fn collect_keys(value: &serde_json::Value, keys: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => members.iter().for_each(|(key, value)| {
            keys.insert(key.clone());
            collect_keys(value, keys);
        }),
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

/// A field of what the sources serialize, under its own name, another, or one that is written by hand.
pub(crate) fn is_field(key: &str) -> bool {
    let snake: String = key
        .chars()
        .flat_map(|c| if c.is_uppercase() { vec!['_', c.to_ascii_lowercase()] } else { vec![c] })
        .collect();
    files(&root().join("src"), "rs").iter().any(|file| {
        let source = fs::read_to_string(file).unwrap();
        source.contains(&format!("pub {snake}: "))
            || source.contains(&format!("rename = \"{key}\""))
            || source.contains(&format!("(\"{key}\", "))
    })
}
