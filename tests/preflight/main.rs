//! The go-live checklist, by the command and by the library, against a PostHog that can be told to fail.

mod command;
mod failures;
mod green;
mod library;
mod pages;
mod secrets;
#[path = "../support/pages.rs"]
mod support;
mod tls;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;

use axum::Router;
use axum::routing::get;
use posthog_health::testing::FakePostHog;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;

/// A key whose shape is that of a personal API key.
pub(crate) const PERSONAL_KEY: &str = "phx_fakeFakeFakeFakeFakeFakeFakeFakeFakeFakeFak";
pub(crate) const WEBHOOK_SECRET: &str = "whsec_ZmFrZUZha2VGYWtlRmFrZUZha2VGYWtlRmFrZUY=";

/// The command, in an environment that has nothing of PostHog's and no proxy.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthog-preflight"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().to_ascii_lowercase();
        if text.starts_with("posthog_") || text.ends_with("_proxy") || text.starts_with("ssl_cert") {
            command.env_remove(&name);
        }
    }
    command.kill_on_drop(true);
    command
}

/// The command, for this server's project.
pub(crate) fn asking(server: &FakePostHog) -> Command {
    let mut command = command();
    command.env("POSTHOG_API_KEY", FakePostHog::TOKEN).env("POSTHOG_HOST", server.url());
    command
}

/// Its exit code, and its report.
pub(crate) async fn report(command: &mut Command) -> (i32, Value) {
    let output = command.arg("--json").output().await.unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}{}", shown(&output), String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

pub(crate) fn shown(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A check of a report.
pub(crate) fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    let items = report["sections"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|section| section["items"].as_array().unwrap());
    let mut checks = items.flat_map(|item| item["checks"].as_array().unwrap());
    checks.find(|check| check["id"] == id).unwrap_or_else(|| panic!("{id} in {report:#}"))
}

/// A directory with the four pages, all filled in.
pub(crate) fn docs() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for page in ["runbook.md", "key-rotation.md", "rollback.md", "escalation.md"] {
        fs::write(directory.path().join(page), "# What to do\n\nThis, and then that.\n").unwrap();
    }
    directory
}

/// A file that only its owner reads.
pub(crate) fn secret_file(directory: &Path, name: &str, content: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    path
}

/// A server on this machine that answers with this JSON, whatever is asked.
pub(crate) async fn json_server(json: &'static str) -> String {
    let router =
        Router::new().fallback(get(move || async move { ([("content-type", "application/json")], json) }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/")
}
