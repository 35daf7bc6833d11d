//! What somebody has put where the host belongs.

use bolero::check;

use super::host::parse;
use crate::api::{endpoint, is_loopback};
use crate::fuzz::{ROUNDS, SECRET, told};

#[test]
fn host() {
    check!(name = "host").with_iterations(ROUNDS).for_each(|input: &[u8]| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        for insecure in [false, true] {
            let Ok(url) = parse(text, insecure) else { continue };
            assert!(url.scheme() == "https" || url.scheme() == "http" && (insecure || is_loopback(&url)));
            assert!(url.username().is_empty() && url.password().is_none() && url.host_str().is_some());
            let batch = endpoint(&url, "/batch/", None);
            let again = parse(url.as_str(), insecure).map(|url| endpoint(&url, "/batch/", None));
            assert_eq!(again.as_ref(), Ok(&batch));
            assert_eq!(batch.origin(), url.origin());
            assert!(
                batch.path().ends_with("/batch/")
                    && batch.path().starts_with(url.path().trim_end_matches('/'))
            );
        }
        // Where a URL has secrets.
        for text in [
            format!("https://kim:{SECRET}@{text}"),
            format!("https://{SECRET}@{text}"),
            format!("{text}?api_key={SECRET}"),
            format!("{text}#{SECRET}"),
        ] {
            if let Err(error) = parse(&text, false) {
                assert!(!told(&error).contains(SECRET), "{error}");
            }
        }
    });
}
