use std::ffi::OsString;
use std::path::Path;

use crate::ConfigError;

/// What the environment says. `None` where it says nothing.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) token: Option<String>,
    pub(super) host: Option<String>,
    pub(super) disabled: bool,
}

const MISSING_TOKEN: &str =
    "set it (or POSTHOG_API_KEY_FILE) to the project token, or set POSTHOG_DISABLED=1";

/// Reads `POSTHOG_API_KEY`, `POSTHOG_HOST` and `POSTHOG_DISABLED` through `lookup`. The first two may come
/// from a file that `…_FILE` names, as mounted secrets do.
pub(super) fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Environment, ConfigError> {
    let disabled = match text("POSTHOG_DISABLED", lookup("POSTHOG_DISABLED"))?.as_deref().map(str::trim) {
        None | Some("" | "0" | "false") => false,
        Some("1" | "true") => true,
        Some(_) => return Err(ConfigError::new("POSTHOG_DISABLED", "is neither 1 nor 0", "use 1 or 0")),
    };
    if disabled {
        return Ok(Environment { disabled, ..Environment::default() });
    }
    let token = value_or_file("POSTHOG_API_KEY", "POSTHOG_API_KEY_FILE", &lookup)?;
    let host = value_or_file("POSTHOG_HOST", "POSTHOG_HOST_FILE", &lookup)?;
    if token.is_none() {
        let problem = if host.is_some() { "is not set, but POSTHOG_HOST is" } else { "is not set" };
        return Err(ConfigError::new("POSTHOG_API_KEY", problem, MISSING_TOKEN));
    }
    Ok(Environment { token, host, disabled })
}

fn value_or_file(
    name: &'static str,
    file_name: &'static str,
    lookup: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, ConfigError> {
    match (text(name, lookup(name))?, lookup(file_name)) {
        (Some(_), Some(_)) => {
            Err(ConfigError::new(name, format!("is set, and {file_name} is set too"), "set one of them"))
        }
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
        std::fs::write(&file, "phc_from_file\n").unwrap();
        let path = file.to_str().unwrap();

        let plain = with(&[("POSTHOG_API_KEY", "phc_abc"), ("POSTHOG_HOST", "eu")]).unwrap();
        assert_eq!((plain.token.as_deref(), plain.host.as_deref()), (Some("phc_abc"), Some("eu")));
        let mounted = with(&[("POSTHOG_API_KEY_FILE", path)]).unwrap();
        assert_eq!(mounted.token.as_deref(), Some("phc_from_file\n"));
        assert!(with(&[("POSTHOG_DISABLED", "1")]).unwrap().disabled);
        assert!(with(&[("POSTHOG_DISABLED", "true"), ("POSTHOG_API_KEY", "")]).unwrap().disabled);
        assert!(!with(&[("POSTHOG_DISABLED", "0"), ("POSTHOG_API_KEY", "phc_abc")]).unwrap().disabled);

        let both = with(&[("POSTHOG_API_KEY", "phc_abc"), ("POSTHOG_API_KEY_FILE", path)]).unwrap_err();
        assert_eq!(both.field(), "POSTHOG_API_KEY");
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn names_the_variable_that_is_wrong() {
        for (variables, field) in [
            (&[][..], "POSTHOG_API_KEY"),
            (&[("POSTHOG_HOST", "eu")][..], "POSTHOG_API_KEY"),
            (&[("POSTHOG_API_KEY", " ")][..], "POSTHOG_API_KEY"),
            (&[("POSTHOG_API_KEY", "phc_abc"), ("POSTHOG_HOST", "")][..], "POSTHOG_HOST"),
            (&[("POSTHOG_API_KEY_FILE", "/nonexistent/secret")][..], "POSTHOG_API_KEY_FILE"),
            (&[("POSTHOG_API_KEY", "phc_abc"), ("POSTHOG_DISABLED", "maybe")][..], "POSTHOG_DISABLED"),
        ] {
            assert_eq!(with(variables).unwrap_err().field(), field, "{variables:?}");
        }
    }
}
