use std::time::Duration;

/// `75.3 s`
pub fn seconds(time: Duration) -> String {
    format!("{} s", time.as_millis() as f64 / 1e3)
}
