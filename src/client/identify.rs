//! Persons and groups: the SDK's methods with the SDK's names and arguments, but without its thread.

use posthog_rs::{Error, Event};
use serde::Serialize;
use serde_json::{Map, Value};

use super::PostHog;

impl PostHog {
    /// Merges two distinct ids into one person. PostHog knows `previous_id` already; it becomes part of `distinct_id`.
    /// Returns at once, as [`capture`](Self::capture) does.
    ///
    /// PostHog refuses to merge ids that come from mistakes: `anonymous`, `distinct_id`, `distinctid`, `email`, `false`,
    /// `guest`, `id`, `not_authenticated`, `true` and `undefined` in any case, and `0`, `NaN`, `None`, `none`, `null` and
    /// `[object Object]`, each with or without quotes. It takes the event and merges nobody. This method sends such an event
    /// too, because the list is PostHog's and may change. It is logged, once an episode, and counted in the metric
    /// `posthog_unmergeable_aliases_total`.
    ///
    /// A blank id on either side cannot describe a merge. The event is dropped and counted as
    /// [`NoDistinctId`](crate::DropReason::NoDistinctId).
    ///
    /// ```
    /// # use posthog_health::{PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// posthog.alias("anonymous-abc123", "user-42"); // after the visitor logged in
    /// # posthog.flush().await?;
    /// # assert_eq!(server.events()[0]["event"], "$create_alias");
    /// # Ok(()) }
    /// ```
    pub fn alias<P: Into<String>, D: Into<String>>(&self, previous_id: P, distinct_id: D) {
        let (previous_id, distinct_id) = (previous_id.into(), distinct_id.into());
        let merged = unless_blank(&[&previous_id, &distinct_id], &previous_id);
        let properties = [("distinct_id", Value::String(previous_id)), ("alias", Value::String(distinct_id))];
        let event = event("$create_alias", merged, properties);
        self.inner.producer.note_alias(&event);
        self.capture(event);
    }

    /// Creates or updates a group and sets its properties. Returns at once, as [`capture`](Self::capture) does.
    ///
    /// With a blank type or key the event is dropped and counted as
    /// [`NoDistinctId`](crate::DropReason::NoDistinctId).
    ///
    /// ```
    /// # use posthog_health::{PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// posthog.group_identify("company", "acme", serde_json::json!({"employees": 11}))?;
    /// # posthog.flush().await?;
    /// # assert_eq!(server.events()[0]["properties"]["$group_set"]["employees"], 11);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Serialization`] if `properties` are not a JSON object. Nothing is captured then.
    pub fn group_identify<T: Into<String>, K: Into<String>, P: Serialize>(
        &self,
        group_type: T,
        group_key: K,
        properties: P,
    ) -> Result<(), Error> {
        let (group_type, group_key) = (group_type.into(), group_key.into());
        let group_set = Value::Object(object("group_identify", properties)?);
        let group = unless_blank(&[&group_type, &group_key], &format!("${group_type}_{group_key}"));
        let properties = [
            ("$group_type", Value::String(group_type)),
            ("$group_key", Value::String(group_key)),
            ("$group_set", group_set),
        ];
        self.capture(event("$groupidentify", group, properties));
        Ok(())
    }

    /// Sets properties of a person, as `identify` does in a browser. The SDK has no such method; this one sends a `$set`
    /// event, as PostHog's other server libraries do. Returns at once, as [`capture`](Self::capture) does.
    ///
    /// ```
    /// # use posthog_health::{PostHog, testing::FakePostHog};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let server = FakePostHog::start();
    /// # let posthog = PostHog::builder(FakePostHog::TOKEN).host(server.url()).build()?;
    /// posthog.set("user-42", serde_json::json!({"plan": "pro"}))?;
    /// # posthog.flush().await?;
    /// # assert_eq!(server.events()[0]["properties"]["$set"]["plan"], "pro");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Serialization`] if `properties` are not a JSON object. Nothing is captured then.
    pub fn set<D: Into<String>, P: Serialize>(&self, distinct_id: D, properties: P) -> Result<(), Error> {
        let set = Value::Object(object("set", properties)?);
        self.capture(event("$set", distinct_id.into(), [("$set", set)]));
        Ok(())
    }
}

/// Returns the distinct id, or an empty one if a part is blank, so that the event is refused and counted.
fn unless_blank(parts: &[&str], distinct_id: &str) -> String {
    let is_known = parts.iter().all(|part| !part.trim().is_empty());
    if is_known { distinct_id.to_owned() } else { String::new() }
}

fn event<const N: usize>(name: &str, distinct_id: String, properties: [(&str, Value); N]) -> Event {
    let mut event = Event::new(name.to_owned(), distinct_id);
    for (name, value) in properties {
        // Inserting a `Value` cannot fail.
        let _ = event.insert_prop(name, value);
    }
    event
}

/// The error shows no property.
fn object(method: &str, properties: impl Serialize) -> Result<Map<String, Value>, Error> {
    match serde_json::to_value(properties) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::Serialization(format!("{method}() properties must be a JSON object"))),
        Err(error) => Err(Error::Serialization(error.to_string())),
    }
}
