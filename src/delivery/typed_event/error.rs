/// There is no event, since what should be its properties is no JSON object.
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
    /// Their `Serialize` panicked.
    #[error("the `Serialize` of the properties panicked: the panic's own message says where")]
    Panicked,
}
