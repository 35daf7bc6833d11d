//! The event of [`event`](super::event) as a service with structs has it.

use posthog_health::TypedEvent;
use serde::Serialize;

/// The same properties, the same JSON.
#[derive(Serialize)]
pub(crate) struct Checkout {
    order_id: String,
    total_cents: u32,
    discount_rate: f64,
    currency: &'static str,
    first_purchase: bool,
    coupon: Option<String>,
    items: [&'static str; 3],
    shipping: Shipping,
    #[serde(rename = "$current_url")]
    current_url: &'static str,
    user_agent: &'static str,
}

#[derive(Serialize)]
struct Shipping {
    carrier: &'static str,
    express: bool,
    days: u8,
    country: &'static str,
}

impl Checkout {
    pub(crate) const NAME: &str = "checkout_completed";

    pub(crate) fn new(number: usize) -> Self {
        Self {
            order_id: format!("ord-2026-11-{number:012}"),
            total_cents: 12_990,
            discount_rate: 0.15,
            currency: "EUR",
            first_purchase: false,
            coupon: None,
            items: ["sku-10442", "sku-20917", "sku-31008"],
            shipping: Shipping { carrier: "post", express: true, days: 2, country: "DE" },
            current_url: "https://shop.example.com/checkout/confirmation?step=4&source=newsletter",
            user_agent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0",
        }
    }

    pub(crate) fn distinct_id(number: usize) -> String {
        format!("user-{number:08}")
    }
}

/// The event of [`event`](super::event) on the fast road.
pub(crate) fn typed_event(number: usize) -> TypedEvent {
    let id = Checkout::distinct_id(number);
    TypedEvent::new(Checkout::NAME, &id, &Checkout::new(number)).expect("a struct is an object")
}

/// Whoever compares the two roads compares the same event.
pub(crate) fn assert_same_event() {
    let event = super::event(7);
    let properties = serde_json::to_value(event.properties()).expect("JSON");
    assert_eq!(serde_json::to_value(Checkout::new(7)).expect("JSON"), properties);
    assert_eq!((Checkout::NAME, &*Checkout::distinct_id(7)), (event.event_name(), event.distinct_id()));
}
