/// The properties of a [`TypedEvent`](super::TypedEvent) did not become a JSON object, so there is no event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PropertiesError {
    /// They are some other JSON.
    #[error("properties are {found}, not a JSON object: use a struct with named fields, or a map")]
    NotAnObject {
        /// What they are, as "an array".
        found: &'static str,
    },
    /// Their `Serialize` failed: a map whose keys are no strings, or an error of its own.
    #[error("properties cannot be written as JSON: {0}")]
    NotSerializable(#[source] serde_json::Error),
    /// Their `Serialize` panicked. The panic ends here. Its own message is where the process's panic messages are, as
    /// [`before_send`](crate::PostHogBuilder::before_send) explains for hooks.
    #[error("the `Serialize` of the properties panicked: the panic's own message says where")]
    Panicked,
}
