//! `docs/preflight.md` and `docs/checklist.md` agree with the code.

use std::collections::BTreeSet;
use std::fs;

use posthog_health::preflight::{CHECKLIST, CheckId, Section};
use posthog_health::testing::FakePostHog;

use crate::support::{read, root};
use crate::{asking, check, command, report, shown};

fn page(name: &str) -> String {
    read(&format!("docs/{name}"))
}

/// The cells of a page's rows that begin with such a cell.
fn rows<'a>(page: &'a str, begins: &str) -> Vec<Vec<&'a str>> {
    let rows = page.lines().filter(|line| line.starts_with(&format!("| {begins}")));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn the_table_of_checks_is_that_of_the_code() {
    let page = page("preflight.md");
    let listed: BTreeSet<_> = rows(&page, "`")
        .into_iter()
        .filter(|row| row.len() == 4)
        .map(|row| (row[0].trim_matches('`').to_owned(), row[3].to_owned()))
        .collect();
    let known: BTreeSet<_> =
        CheckId::ALL.iter().map(|id| (id.as_str().to_owned(), id.why().to_owned())).collect();
    assert_eq!(listed, known);
}

#[tokio::test]
async fn the_options_are_those_of_the_command() {
    let help = shown(&command().arg("--help").output().await.unwrap());
    let options = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words
            .filter(|word| word.len() > 4 && word.starts_with("--"))
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let page = page("preflight.md");
    let (_, table) = page.split_once("## Options").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let mut known = options(&help);
    known.retain(|option| option != "--help" && option != "--version");
    let listed = options(&rows(table, "`--").concat().join(" "));
    assert_eq!(listed, known);
}

/// The samples are what the command prints, but for what is different each time.
#[tokio::test]
async fn the_sample_reports_are_what_it_prints() {
    let page = page("preflight.md");
    let samples: Vec<_> =
        page.split("```text\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [green, failing] = samples[..] else { panic!("two samples") };

    let server = FakePostHog::start();
    let docs = crate::docs();
    let mut command = asking(&server);
    command.args(["--event-rate", "100", "--grace-period", "25"]).arg("--docs").arg(docs.path());
    let printed = shown(&command.output().await.unwrap());
    assert_same(green, &printed);

    server.forget_token(FakePostHog::TOKEN);
    server.set_clock_ahead(90);
    fs::write(docs.path().join("escalation.md"), "| P1 | <fill in: name, phone> |\n").unwrap();
    let printed = shown(&command.output().await.unwrap());
    assert_same(failing, &printed);
}

fn assert_same(sample: &str, printed: &str) {
    assert_eq!(steady(sample), steady(printed), "printed:\n{printed}");
}

/// Without what is different each time: ports, durations, seconds.
fn steady(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| {
        let is_measured = line.contains("network.latency") || line.contains("network.clock");
        let is_digit = |c: char| c.is_ascii_digit();
        match line.split_once("127.0.0.1:") {
            Some((before, after)) => format!("{before}127.0.0.1:{}", after.trim_start_matches(is_digit)),
            None if is_measured => line.replace(is_digit, ""),
            None => line.to_owned(),
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What the page of the checklist must be, from the checklist itself.
fn checklist() -> String {
    let mut page = String::new();
    for (number, section) in (1..).zip(Section::ALL) {
        page += &format!(
            "\n## {number}. {}\n\n| item | what covers it | how to see it |\n|---|---|---|\n",
            section.title()
        );
        for item in CHECKLIST.iter().filter(|item| item.section == section) {
            let checks: Vec<_> = item.checks.iter().map(|id| format!("`{id}`")).collect();
            let given = item.by_construction.iter();
            let mut covers: Vec<_> = given.clone().map(|given| given.what.to_owned()).collect();
            let mut seen: Vec<_> = given.map(|given| format!("`{}`", given.shown_by)).collect();
            if !checks.is_empty() {
                covers.insert(0, checks.join(", "));
                let option = match item.checks[0] {
                    CheckId::WebhookUrl | CheckId::WebhookSecret => " --webhook-url URL",
                    CheckId::HealthRoute => " --health-url URL",
                    CheckId::Runbook | CheckId::KeyRotation | CheckId::Rollback | CheckId::Escalation => {
                        " --docs DIR"
                    }
                    CheckId::Timeouts => " --spool DIR --event-rate NUMBER --grace-period SECONDS",
                    CheckId::Proxy => " --status-page",
                    _ => "",
                };
                seen.insert(0, format!("`posthog-preflight{option}`"));
            }
            if let Some(manual) = item.manual {
                covers.push("a person".to_owned());
                seen.push(format!("manual: {manual}"));
            }
            page += &format!("| {} | {} | {} |\n", item.text, covers.join("; "), seen.join("; "));
        }
    }
    page
}

#[test]
fn the_checklists_page_is_the_checklist() {
    let page = page("checklist.md");
    let (_, tables) = page.split_once("\n## ").unwrap();
    let (expected, tables) = (checklist(), format!("\n## {tables}"));
    assert_eq!(tables, expected, "docs/checklist.md ends with:\n{expected}");
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| item")) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        assert!(cells.len() == 3 && cells.iter().all(|cell| !cell.trim().is_empty()), "{row}");
        assert!(
            cells[2].contains('`') || cells[2].contains("manual: "),
            "no command, no test, not manual: {row}"
        );
    }
}

/// Nobody can fill in the repository's own template of an escalation path.
#[tokio::test]
async fn the_repositorys_own_pages_are_not_ready_to_go_live() {
    let server = FakePostHog::start();
    let (code, report) = report(asking(&server).arg("--docs").arg(root().join("docs"))).await;
    assert_eq!((code, &check(&report, "docs.escalation")["status"]), (2, &"fail".into()), "{report:#}");
    assert_eq!(check(&report, "docs.key_rotation")["status"], "pass", "{report:#}");
}
