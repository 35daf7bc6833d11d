/// Defines an enum whose values have stable names. One table gives it `ALL`, `as_str` and `Serialize`.
macro_rules! named {
    ($(#[$meta:meta])* $vis:vis enum $Type:ident { $($(#[$doc:meta])* $Value:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(serde::Serialize)]
        $vis enum $Type { $($(#[$doc])* #[serde(rename = $name)] $Value,)* }

        impl $Type {
            #[allow(dead_code, reason = "not each of these enums is iterated over")]
            pub(crate) const ALL: [Self; [$($name,)*].len()] = [$(Self::$Value,)*];

            /// Returns the stable name, as in JSON, logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$Value => $name,)* }
            }
        }
    };
}

pub(crate) use named;
