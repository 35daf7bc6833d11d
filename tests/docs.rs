//! The pages agree with the code and with each other: sections for whatever names one, links, metrics, variables, tests
//! and settings. Blocks of code: `tests/snippets`.

#[path = "support/pages.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use posthog_health::{AlertName, DropReason, Reason, RolloutReason, Severity};
use support::{files, pages, read, root};

const PARTS: [&str; 5] = ["What it means", "First look", "Likely causes", "What to do", "When to escalate"];

#[test]
fn each_alert_has_a_section_with_all_its_parts() {
    let sections = runbook();
    for alert in AlertName::all() {
        let text = section(&sections, alert.runbook());
        let places: Vec<_> = PARTS.iter().map(|part| text.find(&format!("\n**{part}.**"))).collect();
        assert!(places.iter().all(Option::is_some), "{alert} lacks one of {PARTS:?}: {places:?}");
        assert!(places.is_sorted(), "{alert}: in the order of {PARTS:?}");
        assert!(text.contains(&format!("`{}`", alert.code())), "{alert} is found by its code");
        assert!(
            text.contains(&format!("`{}`", prometheus_name(alert))),
            "{alert} is found by its rule's name"
        );
    }
}

#[test]
fn each_alert_has_a_row_in_the_readme_and_in_its_configuration() {
    let readme = read("README.md");
    let (_, readme) = readme.split_once("\n## Alerts\n").unwrap();
    let source = read("src/monitor/config.rs");
    for text in [readme.split("\n## ").next().unwrap(), &source] {
        let rows: Vec<_> = text
            .lines()
            .map(|line| line.trim_start_matches("/// "))
            .filter(|line| line.ends_with("| P1 |") || line.ends_with("| P2 |"))
            .map(|row| row.trim_start_matches("| ").split(" |").next().unwrap().to_owned())
            .collect();
        assert_eq!(rows, AlertName::all().map(|alert| alert.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn each_reason_has_a_section_that_says_what_to_do() {
    let sections = runbook();
    for reason in Reason::all() {
        let text = section(&sections, reason.runbook());
        assert!(text.len() > 20, "{}: {text}", reason.code());
    }
}

#[test]
fn each_drop_reason_has_a_row_that_says_what_to_do() {
    let sections = runbook();
    let rows = section(&sections, "runbook.md#dropped-events");
    for reason in DropReason::all() {
        let row = row(rows, reason.as_str());
        let wanted = row.contains("Wanted, no loss");
        assert_eq!(wanted, reason.is_intended(), "{row}");
    }
}

#[test]
fn each_reason_of_a_verdict_has_a_row() {
    let page = read("docs/rollback.md");
    let reasons = [
        RolloutReason::ErrorRate { failed: 1, attempts: 1 },
        RolloutReason::Latency { p99: std::time::Duration::ZERO },
        RolloutReason::LostEvents(1),
        RolloutReason::RejectedEvents(1),
        RolloutReason::WorkerStopped,
        RolloutReason::NotRunning,
        RolloutReason::TooLittleTraffic { attempts: 0, needed: 1 },
    ];
    for reason in reasons {
        row(&page, reason.code());
    }
    let alert = RolloutReason::Alert { name: AlertName::ApiDown, severity: Severity::P1 };
    assert_eq!(alert.code(), "api_down", "an alert has its own section");
}

#[test]
fn each_rule_of_prometheus_leads_to_its_alerts_section() {
    let rules = read("examples/monitoring/posthog-health.rules.yml");
    let found = rules.split("- alert: ").skip(1).map(|rule| {
        let url = rule.split("runbook_url: ").nth(1).and_then(|rest| rest.lines().next());
        let (_, page) = url.unwrap_or_else(|| panic!("no runbook_url: {rule}")).rsplit_once('/').unwrap();
        (rule.lines().next().unwrap().to_owned(), page.to_owned())
    });
    let expected: BTreeMap<_, _> =
        AlertName::all().map(|alert| (prometheus_name(alert), alert.runbook().to_owned())).collect();
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn each_link_and_anchor_within_the_repository_leads_somewhere() {
    let (mut links, mut broken) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links_in(&text) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (path, anchor) =
                link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let leads = match anchor {
                _ if !target.exists() => false,
                Some(anchor) => headings(&fs::read_to_string(target).unwrap()).contains(anchor),
                None => true,
            };
            if !leads {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(links > 80, "the pages were read: {links}");
    assert!(broken.is_empty(), "{broken:#?}");
}

/// They are read where nobody has the repository: docs.rs shows its files under such an address.
#[test]
fn each_file_that_the_crates_documentation_links_is_in_the_package() {
    let docs = crate_docs();
    let linked: Vec<_> = docs
        .split("https://docs.rs/crate/posthog-health/latest/source/")
        .skip(1)
        .map(|rest| rest.split([' ', ')']).next().unwrap())
        .collect();
    assert!(linked.len() > 15, "the documentation was read: {linked:?}");
    for path in linked {
        assert!(root().join(path).exists(), "{path}");
        assert!(!path.starts_with('.'), "{path} is not in the package");
    }
}

#[test]
fn each_metric_that_a_page_names_is_documented() {
    let metrics = read("docs/metrics.md");
    let documented: BTreeSet<_> =
        metrics.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let of_histograms = ["", "_bucket", "_sum", "_count"];
    // The crates, the targets of log lines, and preflight's test event.
    let others = ["posthog_health", "posthog_rs", "posthog_health_preflight"];
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for word in words(&text).filter(|word| word.starts_with("posthog_") && !others.contains(word)) {
            let known =
                of_histograms.iter().any(|end| documented.contains(word.strip_suffix(end).unwrap_or(word)));
            assert!(known, "{} names {word}", page.display());
        }
    }
}

#[test]
fn each_variable_that_a_page_names_is_read() {
    let read_here: String =
        files(&root().join("src"), "rs").iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for word in words(&text).filter(|word| word.starts_with("POSTHOG_")) {
            assert!(read_here.contains(&format!("\"{word}\"")), "{} names {word}", page.display());
        }
    }
}

#[test]
fn each_file_that_a_page_names_exists() {
    let mut named = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        // In the changelog, what was.
        for path in text.split('`').skip(1).step_by(2).filter(|_| !page.ends_with("CHANGELOG.md")) {
            let is_path = ["src/", "tests/", "benches/", "examples/", "docs/", ".ci/"]
                .iter()
                .any(|folder| path.starts_with(folder));
            // `NAME` stands for what a reader chooses.
            if is_path && !path.contains([' ', '*']) && !path.contains("NAME") {
                assert!(root().join(path).exists(), "{path} in {}", page.display());
                named += 1;
            }
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn each_test_that_a_page_names_exists() {
    let sources = ["src", "tests"].map(|folder| files(&root().join(folder), "rs")).concat();
    let sources: String = sources.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut named = 0;
    let texts = pages().into_iter().map(|page| fs::read_to_string(page).unwrap());
    for text in texts.chain([crate_docs()]) {
        for name in text.split("test `").skip(1).map(|rest| rest.split('`').next().unwrap()) {
            named += 1;
            assert!(sources.contains(&format!("fn {name}()")), "a page names {name}");
        }
    }
    assert!(named > 10, "the pages were read: {named}");
}

#[test]
fn each_setting_has_a_row_and_each_row_is_a_setting() {
    let mut settings = BTreeMap::<String, BTreeSet<String>>::new();
    for file in files(&root().join("src"), "rs") {
        let source = fs::read_to_string(file).unwrap();
        for part in source.split("\nimpl ").skip(1) {
            let Some((of, body)) = part.split_once(" {\n") else { continue };
            if !(of.ends_with("Config") || ["PostHogBuilder", "CredentialSource"].contains(&of))
                || of.contains(' ')
            {
                continue;
            }
            let body = body.split("\n}").next().unwrap();
            let setters = body.split("pub fn ").skip(1).filter_map(|method| {
                let (name, arguments) = method.split_once('(')?;
                arguments.trim_start().starts_with("mut self").then(|| name.to_owned())
            });
            // The simulation's `Config` has none.
            for setter in setters {
                settings.entry(of.to_owned()).or_default().insert(setter);
            }
        }
    }
    let page = read("docs/defaults.md");
    let rows: BTreeMap<_, BTreeSet<_>> = page
        .split("\n## ")
        .skip(1)
        .filter_map(|section| {
            let (name, rows) = section.split_once('\n').unwrap();
            let rows =
                rows.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned()));
            (name != "Environment").then(|| (name.to_owned(), rows.collect()))
        })
        .collect();
    assert!(settings.len() > 8, "the sources were read: {settings:#?}");
    assert_eq!(settings, rows);
}

#[test]
fn each_field_of_the_template_says_what_belongs_in_it() {
    let page = read("docs/escalation.md");
    let fields: Vec<_> =
        page.split("`<fill in: ").skip(1).map(|rest| rest.split_once(">`").unwrap().0).collect();
    assert_eq!(
        fields.len(),
        page.matches("fill in").count(),
        "none is written otherwise, and the text names none"
    );
    assert!(fields.len() > 20 && fields.iter().all(|field| !field.trim().is_empty()), "{fields:?}");
}

// -- The pages -----------------------------------------------------------------------------------------------------

/// The front page of the crate's documentation, as one line.
fn crate_docs() -> String {
    let source = read("src/lib.rs");
    let lines = source.lines().filter_map(|line| line.strip_prefix("//!"));
    lines.flat_map(str::split_whitespace).fold(String::new(), |docs, word| docs + word + " ")
}

/// The runbook's sections by the links to them, each with the text up to the next heading.
fn runbook() -> BTreeMap<String, String> {
    let page = read("docs/runbook.md");
    let mut sections = BTreeMap::new();
    let mut current = String::new();
    for (line, is_code) in lines(&page) {
        match heading(line).filter(|_| !is_code) {
            Some(title) => {
                current = format!("runbook.md#{}", anchor(title));
                assert!(sections.insert(current.clone(), String::new()).is_none(), "two sections {current}");
            }
            None => {
                if let Some(text) = sections.get_mut(&current) {
                    *text += &format!("{line}\n");
                }
            }
        }
    }
    sections
}

fn section<'a>(sections: &'a BTreeMap<String, String>, link: &str) -> &'a str {
    sections.get(link).unwrap_or_else(|| panic!("no section {link}"))
}

/// The one row of a table that begins with this code.
fn row<'a>(text: &'a str, code: &str) -> &'a str {
    let begin = format!("| `{code}` |");
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with(&begin)).collect();
    let [row] = rows[..] else { panic!("one row of {code}: {rows:?}") };
    assert!(row.trim_matches('|').split('|').all(|cell| !cell.trim().is_empty()), "{row}");
    row
}

/// `PostHogApiDown`, of Prometheus's rules.
fn prometheus_name(alert: AlertName) -> String {
    let words = alert.code().split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
    format!("PostHog{}", words.collect::<String>())
}

/// Each line, and whether it is in a block of code.
fn lines(text: &str) -> impl Iterator<Item = (&str, bool)> {
    text.lines().scan(false, |is_code, line| {
        let fence = line.trim_start().starts_with("```");
        *is_code ^= fence;
        Some((line, *is_code || fence))
    })
}

fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    (title.len() < line.len()).then(|| title.strip_prefix(' ')).flatten()
}

/// As GitHub makes it of a heading.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The anchors of a page. A heading that comes again gets a number.
fn headings(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for title in lines(text).filter(|(_, is_code)| !is_code).filter_map(|(line, _)| heading(line)) {
        let first = anchor(title);
        let again = (1..).map(|n| format!("{first}-{n}"));
        let free = std::iter::once(first.clone()).chain(again).find(|anchor| !anchors.contains(anchor));
        anchors.extend(free);
    }
    anchors
}

/// What stands in `](…)`, outside of code.
fn links_in(text: &str) -> Vec<&str> {
    let prose = lines(text).filter(|(_, is_code)| !is_code).map(|(line, _)| line);
    prose.flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next()).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}
