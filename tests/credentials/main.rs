//! Where the project token comes from, and what happens when it changes while the client runs.

#[path = "../support/log.rs"]
mod log;
mod provider;
mod rotation;
#[cfg(all(feature = "metrics", feature = "spool"))]
mod secrets;
#[path = "../support/client.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use posthog_health::testing::{FakePostHog, Route};
use posthog_health::{CredentialSource, CredentialsError, PostHog};
use support::{MS, builder, capture};

const OLD: &str = FakePostHog::TOKEN;
const NEW: &str = "phc_newNewNewNewNewNewNewNewNewNewNewNewNewNewNe";
const HOUR: Duration = Duration::from_secs(3600);

/// A mounted secret.
struct Mount {
    directory: tempfile::TempDir,
}

impl Mount {
    fn new() -> Self {
        let mount = Self { directory: tempfile::tempdir().unwrap() };
        mount.swap(OLD);
        mount
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("project-token")
    }

    /// In one step: nobody sees half of it.
    fn swap(&self, content: impl AsRef<[u8]>) {
        let next = self.directory.path().join("next");
        fs::write(&next, content).unwrap();
        fs::rename(next, self.path()).unwrap();
    }

    /// Looked at so rarely that nothing in a test is due to it.
    fn source(&self) -> CredentialSource {
        CredentialSource::file(self.path()).check_every(HOUR)
    }
}

/// With which token the n-th batch came.
fn token_of_batch(server: &FakePostHog, n: usize) -> String {
    let batches = server.requests().into_iter().filter(|request| request.route == Route::Batch);
    let body: serde_json::Value =
        serde_json::from_slice(&batches.skip(n).collect::<Vec<_>>()[0].body).unwrap();
    body["api_key"].as_str().unwrap().to_owned()
}

/// With which token a batch leaves now.
async fn token_in_use(server: &FakePostHog, posthog: &PostHog) -> String {
    let before = server.request_count(Route::Batch);
    capture(posthog, 1);
    posthog.flush().await.unwrap();
    token_of_batch(server, before)
}

#[tokio::test]
async fn a_fixed_token_stays() {
    let server = FakePostHog::start();
    let posthog = builder(&server).credentials(CredentialSource::fixed(NEW)).build().unwrap();
    assert!(!posthog.reload_credentials().await.unwrap());
    assert_eq!(token_in_use(&server, &posthog).await, NEW);
    let disabled = builder(&server).disabled(true).build().unwrap();
    assert!(!disabled.reload_credentials().await.unwrap());
}

#[tokio::test]
async fn a_file_is_read_on_demand() {
    let (server, mount) = (FakePostHog::start(), Mount::new());
    let posthog = builder(&server).credentials(mount.source()).build().unwrap();
    assert!(!posthog.reload_credentials().await.unwrap());
    assert_eq!(token_in_use(&server, &posthog).await, OLD);
    mount.swap(format!(" {NEW}\n"));
    assert_eq!(token_in_use(&server, &posthog).await, OLD, "not read for each batch");
    assert!(posthog.reload_credentials().await.unwrap());
    assert_eq!(token_in_use(&server, &posthog).await, NEW);

    posthog.shutdown(MS(5_000)).await;
    assert!(matches!(posthog.reload_credentials().await, Err(CredentialsError::Ended)));
}

/// As Kubernetes does it: the file is a link into a directory that is a link, and that one is swapped.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_changes_is_noticed_through_its_links() {
    use std::os::unix::fs::symlink;

    let (server, mount) = (FakePostHog::start(), tempfile::tempdir().unwrap());
    let at = |name: &str| mount.path().join(name);
    for (version, token) in [("..1", OLD), ("..2", NEW)] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("project-token"), token).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/project-token", at("project-token")).unwrap();
    let source = CredentialSource::file(at("project-token")).check_every(MS(2));
    let posthog = builder(&server).credentials(source).build().unwrap();
    assert_eq!(token_in_use(&server, &posthog).await, OLD);
    symlink("..2", at("..next")).unwrap();
    fs::rename(at("..next"), at("..data")).unwrap();
    let changed = async { while token_in_use(&server, &posthog).await != NEW {} };
    tokio::time::timeout(Duration::from_secs(60), changed).await.unwrap();
}

#[tokio::test]
async fn what_is_no_project_token_changes_nothing() {
    let (server, mount) = (FakePostHog::start(), Mount::new());
    let posthog = builder(&server).credentials(mount.source()).build().unwrap();
    for (content, problem) in [
        ("", "is empty"),
        ("phx_secretsecret", "is a personal API key"),
        ("phs_secretsecret", "is a project secret API key"),
        ("phc_secretsecret phc_secretsecret", "has blanks"),
        ("{{ vault }}", "has quotes, braces"),
    ] {
        mount.swap(content);
        let error = posthog.reload_credentials().await.unwrap_err();
        let CredentialsError::Invalid(error) = error else { panic!("{error}") };
        assert!(error.field() == "credentials" && error.problem().starts_with(problem), "{error}");
        assert!(!error.to_string().contains("secretsecret"), "{error}");
    }
    fs::remove_file(mount.path()).unwrap();
    let error = posthog.reload_credentials().await.unwrap_err().to_string();
    assert!(error.starts_with("credentials names a file that cannot be read (entity not found)"), "{error}");
    assert_eq!(token_in_use(&server, &posthog).await, OLD);
    mount.swap(NEW);
    assert!(posthog.reload_credentials().await.unwrap());
    assert_eq!(token_in_use(&server, &posthog).await, NEW);
}

/// The start is the one moment when somebody reads the error.
#[tokio::test]
async fn a_source_that_cannot_work_is_named_by_build() {
    let mount = Mount::new();
    let says = |source: CredentialSource| PostHog::builder(source).build().unwrap_err().to_string();
    assert!(says("phx_secret".into()).starts_with("project_token is a personal API key (phx_…)"));
    let nowhere = CredentialSource::environment("POSTHOG_HEALTH_TEST_HAS_NO_SUCH_VARIABLE");
    assert!(says(nowhere).starts_with("POSTHOG_HEALTH_TEST_HAS_NO_SUCH_VARIABLE is not set: set it"));
    assert!(
        says(CredentialSource::file("/nonexistent")).starts_with("credentials names a file that cannot be")
    );
    assert!(says(mount.source().check_every(Duration::ZERO)).starts_with("check_every is 0ns"));
    mount.swap("phs_secret");
    assert!(says(mount.source()).starts_with("credentials is a project secret API key (phs_…)"));
    // The environment's token is not missed when there is another source.
    let from_env = PostHog::from_env().host("http://127.0.0.1:1").credentials(CredentialSource::fixed(OLD));
    assert!(from_env.build().is_ok());
}
