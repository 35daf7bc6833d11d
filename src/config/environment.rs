use std::ffi::OsString;
use std::path::Path;

use crate::ConfigError;
use crate::api::CaptureProtocol;
use crate::credentials::CredentialSource;

/// What the environment says. `None` where it says nothing.
#[derive(Debug)]
pub struct Environment {
    /// An error where it says nothing, for whoever needs it.
    pub token: Result<CredentialSource, ConfigError>,
    pub host: Option<String>,
    pub capture_protocol: Option<CaptureProtocol>,
    pub disabled: bool,
}

const MISSING_TOKEN: &str = "set it to the project token (phc_…, in PostHog's project settings), or \
    POSTHOG_API_KEY_FILE to a file that holds it, or POSTHOG_DISABLED=1 to send nothing";

/// Reads `POSTHOG_HOST`, `POSTHOG_CAPTURE_MODE` and `POSTHOG_DISABLED` through `lookup`, and finds where `POSTHOG_API_KEY` is to be read.
/// The host and the key may come from a file that `…_FILE` names, as mounted secrets do.
pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Environment, ConfigError> {
    let disabled = match text("POSTHOG_DISABLED", lookup("POSTHOG_DISABLED"))?.as_deref().map(str::trim) {
        None | Some("" | "0" | "false") => false,
        Some("1" | "true") => true,
        Some(_) => return Err(ConfigError::new("POSTHOG_DISABLED", "is neither 1 nor 0", "use 1 or 0")),
    };
    if disabled {
        let token = Ok(CredentialSource::fixed(""));
        return Ok(Environment { token, host: None, capture_protocol: None, disabled });
    }
    let capture_protocol = capture_protocol(text(CAPTURE_MODE, lookup(CAPTURE_MODE))?)?;
    let (key, file) = (lookup("POSTHOG_API_KEY"), lookup("POSTHOG_API_KEY_FILE"));
    let host = value_or_file("POSTHOG_HOST", "POSTHOG_HOST_FILE", &lookup)?;
    let token = match (key, file) {
        (Some(_), Some(_)) => return Err(both("POSTHOG_API_KEY", "POSTHOG_API_KEY_FILE")),
        (Some(_), None) => Ok(CredentialSource::environment("POSTHOG_API_KEY")),
        (None, Some(path)) => Ok(CredentialSource::file_called(path.into(), "POSTHOG_API_KEY_FILE")),
        (None, None) => {
            let problem = if host.is_some() { "is not set, but POSTHOG_HOST is" } else { "is not set" };
            Err(ConfigError::new("POSTHOG_API_KEY", problem, MISSING_TOKEN))
        }
    };
    Ok(Environment { token, host, capture_protocol, disabled })
}

const CAPTURE_MODE: &str = "POSTHOG_CAPTURE_MODE";

/// With the aliases that PostHog's other SDKs have.
fn capture_protocol(mode: Option<String>) -> Result<Option<CaptureProtocol>, ConfigError> {
    let Some(mode) = mode else { return Ok(None) };
    match mode.trim().to_ascii_lowercase().as_str() {
        "v0" | "legacy" => Ok(Some(CaptureProtocol::V0)),
        "v1" | "analytics_v1" => Ok(Some(CaptureProtocol::V1)),
        "auto" => Ok(Some(CaptureProtocol::Auto)),
        _ => Err(ConfigError::new(
            CAPTURE_MODE,
            "is neither v0 nor v1 nor auto",
            "use one of them, or unset it",
        )),
    }
}

fn value_or_file(
    name: &'static str,
    file_name: &'static str,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, ConfigError> {
    match (text(name, lookup(name))?, lookup(file_name)) {
        (Some(_), Some(_)) => Err(both(name, file_name)),
        (Some(value), None) => filled(name, value).map(Some),
        (None, Some(path)) => {
            let content = std::fs::read_to_string(Path::new(&path)).map_err(|error| {
                let problem = format!("names a file that cannot be read ({})", error.kind());
                ConfigError::new(file_name, problem, "check the path, the mount and the permissions")
            })?;
            filled(file_name, content).map(Some)
        }
        (None, None) => Ok(None),
    }
}

fn both(name: &'static str, file_name: &str) -> ConfigError {
    ConfigError::new(name, format!("is set, and {file_name} is set too"), "set one of them")
}

fn filled(name: &'static str, value: String) -> Result<String, ConfigError> {
    if value.trim().is_empty() {
        return Err(ConfigError::new(name, "is blank", "fill it or unset it"));
    }
    Ok(value)
}

fn text(name: &'static str, value: Option<OsString>) -> Result<Option<String>, ConfigError> {
    value
        .map(|value| value.into_string().map_err(|_| ConfigError::new(name, "is not UTF-8", "set it again")))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Environment, ConfigError> {
        read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn reads_values_and_files() {
        let file = std::env::temp_dir().join(format!("posthog-health-env-{}", std::process::id()));
        std::fs::write(&file, "eu\n").unwrap();
        let path = file.to_str().unwrap();

        let plain = with(&[("POSTHOG_API_KEY", "phc_abc"), ("POSTHOG_HOST", "eu")]).unwrap();
        assert_eq!(
            format!("{:?} {:?}", plain.token, plain.host),
            r#"Ok(CredentialSource::environment) Some("eu")"#
        );
        let mounted = with(&[("POSTHOG_API_KEY_FILE", "/secret"), ("POSTHOG_HOST_FILE", path)]).unwrap();
        assert_eq!(
            format!("{:?} {:?}", mounted.token, mounted.host),
            r#"Ok(CredentialSource::file) Some("eu\n")"#
        );
        assert!(with(&[("POSTHOG_DISABLED", "1")]).unwrap().disabled);
        assert!(with(&[("POSTHOG_DISABLED", "true"), ("POSTHOG_API_KEY", "")]).unwrap().disabled);
        assert!(!with(&[("POSTHOG_DISABLED", "0"), ("POSTHOG_API_KEY", "phc_abc")]).unwrap().disabled);

        for (mode, protocol) in [
            ("v0", CaptureProtocol::V0),
            ("legacy", CaptureProtocol::V0),
            (" V1\n", CaptureProtocol::V1),
            ("analytics_v1", CaptureProtocol::V1),
            ("Auto", CaptureProtocol::Auto),
        ] {
            let environment = with(&[("POSTHOG_API_KEY", "phc_abc"), (CAPTURE_MODE, mode)]).unwrap();
            assert_eq!(environment.capture_protocol, Some(protocol), "{mode}");
        }
        assert_eq!(with(&[("POSTHOG_API_KEY", "phc_abc")]).unwrap().capture_protocol, None);
        let odd = with(&[("POSTHOG_API_KEY", "phc_abc"), (CAPTURE_MODE, "2")]).unwrap_err();
        assert_eq!(odd.field(), CAPTURE_MODE);

        let both = with(&[("POSTHOG_API_KEY", "phc_abc"), ("POSTHOG_API_KEY_FILE", path)]).unwrap_err();
        assert_eq!(both.field(), "POSTHOG_API_KEY");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn names_the_variable_that_is_wrong() {
        for (variables, field) in [
            (&[][..], "POSTHOG_API_KEY"),
            (&[("POSTHOG_HOST", "eu")][..], "POSTHOG_API_KEY"),
            (&[("POSTHOG_API_KEY", "phc_abc"), ("POSTHOG_HOST", "")][..], "POSTHOG_HOST"),
            (&[("POSTHOG_HOST_FILE", "/nonexistent/host")][..], "POSTHOG_HOST_FILE"),
            (&[("POSTHOG_API_KEY", "phc_abc"), ("POSTHOG_DISABLED", "maybe")][..], "POSTHOG_DISABLED"),
        ] {
            let error = with(variables).and_then(|environment| environment.token).unwrap_err();
            assert_eq!(error.field(), field, "{variables:?}");
        }
    }
}
