/// Declares the methods of a configuration that only set fields: `fn pause(mut self, first: Duration => pause)`
/// sets the field `pause` to the argument `first`.
macro_rules! setters {
    ($($(#[$meta:meta])* pub fn $method:ident(mut self, $($argument:ident: $type:ty => $field:ident),+);)*) => {
        $($(#[$meta])*
        #[must_use]
        pub fn $method(mut self, $($argument: $type),+) -> Self {
            $(self.$field = $argument;)+
            self
        })*
    };
}

pub(crate) use setters;
