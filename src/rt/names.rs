/// Declares an enum whose values have stable names, and makes from this one list what would repeat it: all values in
/// order, the names, and the JSON.
macro_rules! named {
    ($(#[$meta:meta])* pub enum $type:ident { $($(#[$value_meta:meta])* $value:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub enum $type {
            $($(#[$value_meta])* #[serde(rename = $name)] $value,)*
        }

        #[allow(dead_code, reason = "without the metrics, nobody asks some enums for their names or all values")]
        impl $type {
            pub(crate) const ALL: [Self; [$($name,)*].len()] = [$(Self::$value,)*];

            /// Returns the stable name for machines, the same in JSON, logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $name,)* }
            }
        }
    };
}

pub(crate) use named;
