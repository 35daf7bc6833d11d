//! Exit codes, and what is around the command: its outputs and its environment.

use std::fs;
use std::process::Stdio;

use posthog_health::testing::FakePostHog;
use tokio::process::Command;

use crate::{asking, check, report};

#[tokio::test]
async fn exit_codes() {
    let server = FakePostHog::start();
    let exit = async |arguments: &[&str]| {
        let status = asking(&server).args(arguments).output().await.unwrap().status;
        status.code().unwrap()
    };
    assert_eq!(exit(&[]).await, 0);
    assert_eq!(exit(&["--strict"]).await, 0);
    server.set_clock_ahead(60); // a warning
    assert_eq!(exit(&[]).await, 0);
    assert_eq!(exit(&["--strict"]).await, 1);
    server.forget_token(FakePostHog::TOKEN); // and a failure
    assert_eq!(exit(&[]).await, 2);
    assert_eq!(exit(&["--strict"]).await, 2);
}

/// Who reads the first lines only still gets the verdict, with and without somebody who reads the errors.
#[tokio::test]
async fn a_reader_that_leaves_changes_no_exit_code() {
    let server = FakePostHog::start();
    let exit = async |arguments: &[&str]| {
        let closed = || Stdio::from(std::io::pipe().unwrap().1);
        let mut command = asking(&server);
        command.args(arguments).stdout(closed()).stderr(closed());
        command.status().await.unwrap().code()
    };
    assert_eq!([exit(&[]).await, exit(&["--json"]).await], [Some(0); 2]);
    server.forget_token(FakePostHog::TOKEN);
    assert_eq!([exit(&[]).await, exit(&["--json"]).await], [Some(2); 2]);
}

/// A report that is nowhere is a failure, whoever hears of it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_report_that_cannot_be_written_is_a_failure() {
    let server = FakePostHog::start();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for errors in [Stdio::piped(), full().into()] {
        let child = asking(&server).stdout(full()).stderr(errors).spawn().unwrap();
        assert_eq!(child.wait_with_output().await.unwrap().status.code(), Some(2));
    }
}

#[tokio::test]
async fn an_empty_environment_is_a_report() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthog-preflight"));
    let (code, report) = report(command.env_clear().arg("--host=http://127.0.0.1:1")).await;
    assert_eq!((code, &check(&report, "config.token")["status"]), (2, &"fail".into()), "{report:#}");
}
