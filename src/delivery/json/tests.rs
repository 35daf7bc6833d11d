use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;

fn levels(levels: usize) -> Budget {
    Budget::new(levels, usize::MAX)
}

fn written(value: &(impl Serialize + ?Sized)) -> String {
    let mut out = Vec::new();
    write(&mut out, value, levels(120)).unwrap();
    String::from_utf8(out).unwrap()
}

fn assert_as_serde_json(value: &(impl Serialize + ?Sized)) {
    assert_eq!(written(value), serde_json::to_string(value).unwrap());
}

#[derive(Serialize)]
enum Variant {
    Unit,
    Newtype(u8),
    Tuple(u8, &'static str),
    Struct { a: u8, b: Option<u8> },
}

#[derive(Serialize)]
struct Everything<'a> {
    numbers: (i8, i16, i32, i64, i128, u8, u16, u32, u64, u128),
    floats: (f32, f64, f64, f64),
    others: (bool, char, char, &'a str, (), Option<u8>, Option<u8>),
    variants: [Variant; 4],
    #[serde(serialize_with = "as_bytes")]
    bytes: &'a [u8],
    tuple: Tuple,
    unit: Unit,
    newtype: Newtype,
    empty: (Vec<u8>, BTreeMap<u8, u8>, Empty),
    numbers_as_keys: BTreeMap<i32, u8>,
    booleans_as_keys: BTreeMap<bool, u8>,
    characters_as_keys: BTreeMap<char, u8>,
    text_as_keys: BTreeMap<&'a str, u8>,
    variants_as_keys: BTreeMap<Key, u8>,
    raw: Box<RawValue>,
    #[serde(flatten)]
    flat: BTreeMap<&'a str, Value>,
}

#[derive(Serialize)]
struct Tuple(u8, u8);
#[derive(Serialize)]
struct Unit;
#[derive(Serialize)]
struct Newtype(f64);
#[derive(Serialize)]
struct Empty {}
#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    A,
}

fn as_bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

#[test]
fn every_kind_of_type_is_written_as_serde_json_writes_it() {
    assert_as_serde_json(&Everything {
        numbers: (-1, -2, -3, i64::MIN, i128::MIN, 1, 2, 3, u64::MAX, u128::MAX),
        floats: (1.5, 1e300, f64::NAN, f64::INFINITY),
        others: (true, '"', '\u{1F994}', "\"\\\n\u{1}\u{7f}é", (), None, Some(1)),
        variants: [
            Variant::Unit,
            Variant::Newtype(1),
            Variant::Tuple(1, "a"),
            Variant::Struct { a: 1, b: None },
        ],
        bytes: b"ab",
        tuple: Tuple(1, 2),
        unit: Unit,
        newtype: Newtype(0.1),
        empty: (vec![], BTreeMap::new(), Empty {}),
        numbers_as_keys: BTreeMap::from([(-1, 1), (2, 2)]),
        booleans_as_keys: BTreeMap::from([(true, 1)]),
        characters_as_keys: BTreeMap::from([('\n', 1)]),
        text_as_keys: BTreeMap::from([("a\"b", 1)]),
        variants_as_keys: BTreeMap::from([(Key::A, 1)]),
        raw: RawValue::from_string("{\"a\" : [1.000]}".to_owned()).unwrap(),
        flat: BTreeMap::from([("x", json!({"y": [null]}))]),
    });
}

#[test]
fn a_byte_that_needs_an_escape_is_seen_wherever_it_is() {
    for length in 1..20 {
        for at in 0..length {
            for byte in 0..=127_u8 {
                let mut text = vec![b'\x7f'; length];
                text[at] = byte;
                assert_as_serde_json(std::str::from_utf8(&text).unwrap());
            }
        }
    }
}

#[test]
fn a_key_that_is_no_text_is_an_error() {
    for refused in [
        write(&mut Vec::new(), &BTreeMap::from([([1], 2)]), levels(9)),
        write(&mut Vec::new(), &BTreeMap::from([((), 2)]), levels(9)),
    ] {
        assert_eq!(refused.unwrap_err().to_string(), "key must be a string");
    }
}

#[test]
fn refuses_what_is_nested_too_deep() {
    let nested = |levels: usize| {
        (0..levels).fold(
            json!(1),
            |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) },
        )
    };
    let deep = |value: &dyn Fn(&mut Vec<u8>) -> Result<(), NotWritten>| {
        matches!(value(&mut Vec::new()), Err(NotWritten::TooDeep))
    };
    let raw =
        |levels| RawValue::from_string(nested(levels).to_string().replace("\"a\"", "\"{[\\\"{[\"")).unwrap();
    for (depth, is_deep) in [(9, false), (10, false), (11, true)] {
        assert_eq!(deep(&|out| write(out, &nested(depth), levels(10))), is_deep);
        assert_eq!(deep(&|out| write(out, &raw(depth), levels(10))), is_deep);
        assert_eq!(deep(&|out| write(out, &[raw(depth - 1)], levels(10))), is_deep);
    }
    let variant = Variant::Struct { a: 1, b: None };
    assert!(deep(&|out| write(out, &variant, levels(1))) && !deep(&|out| write(out, &variant, levels(2))));
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        ".{0,40}".prop_map(|value| json!(value)),
        any::<String>().prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| json!(items)),
            prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_is_written_as_serde_json_writes_it(value in values()) {
        prop_assert_eq!(written(&value), value.to_string());
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_value_is_written_as_serde_json_writes_it(any in any_value()) {
        let mut out = b"before".to_vec();
        value(&mut out, &any, levels(120)).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), format!("before{any}"));
    }
}

fn nested(levels: usize) -> Value {
    (0..levels)
        .fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) })
}

#[test]
fn the_deepest_value_is_written_and_dropped_on_a_small_stack_and_a_deeper_one_is_refused_there() {
    let on_a_small_stack = || {
        for (depth, is_deep) in [(DEEPEST, false), (DEEPEST + 1, true)] {
            let any = nested(depth);
            let result = value(&mut Vec::new(), &any, levels(DEEPEST));
            assert_eq!(matches!(result, Err(NotWritten::TooDeep)), is_deep, "{depth}");
            assert_eq!(is_deeper(&any, DEEPEST), is_deep, "{depth}");
        }
    };
    std::thread::Builder::new().stack_size(128 << 10).spawn(on_a_small_stack).unwrap().join().unwrap();
}

#[test]
fn a_value_of_any_depth_is_refused_and_dropped_without_recursion() {
    let mut any = json!(1);
    for _ in 0..1_000_000 {
        any = Value::Array(vec![any]);
    }
    let on_a_small_stack = move || {
        assert!(is_deeper(&any, DEEPEST));
        assert!(value(&mut Vec::new(), &any, levels(DEEPEST)).is_err());
        dismantle(any);
    };
    std::thread::Builder::new().stack_size(128 << 10).spawn(on_a_small_stack).unwrap().join().unwrap();
}

#[test]
fn writing_stops_soon_after_the_bound() {
    let budget = Budget::new(9, 10_000);
    let long = json!({ "a": vec!["x".repeat(1_000); 1_000], "b": 1 });
    let mut out = Vec::new();
    assert!(matches!(value(&mut out, &long, budget), Err(NotWritten::TooLarge)));
    assert!(out.len() <= 10_000, "{}", out.len());
    let mut out = Vec::new();
    assert!(matches!(write(&mut out, &long, budget), Err(NotWritten::TooLarge)));
    assert!(out.len() <= 10_000, "{}", out.len());
    assert!(value(&mut Vec::new(), &json!("x".repeat(9_998)), budget).is_ok());
}
