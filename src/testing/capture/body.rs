//! Bodies of capture requests: off their compression, and the events in them.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use serde_json::Value;

use super::v1::DECOMPRESSED_LIMIT;

const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// The first byte of a zlib stream, by which PostHog knows it from bare deflate.
const ZLIB_MAGIC: u8 = 0x78;

/// Why a body could not be decompressed.
#[derive(Clone, Debug)]
pub enum Undecodable {
    Broken(String),
    /// It exceeds V1's limit after decompression.
    TooLarge,
}

/// V0 knows gzip by its first bytes. Neither headers nor the query matter.
pub fn decode_v0(wire: &Bytes) -> Result<Bytes, Undecodable> {
    if wire.starts_with(&GZIP_MAGIC) { gunzip(wire) } else { Ok(wire.clone()) }
}

pub fn gunzip(wire: &[u8]) -> Result<Bytes, Undecodable> {
    inflated(GzDecoder::new(wire), usize::MAX)
}

/// V1 goes by `Content-Encoding`. A body in a codec that this server lacks stays as it is; its header is refused later.
pub fn decode_v1(wire: &Bytes, encoding: Option<&str>) -> Result<Bytes, Undecodable> {
    let encoding = encoding.map(str::to_ascii_lowercase);
    match encoding.as_deref() {
        Some("gzip") => inflated(GzDecoder::new(&wire[..]), DECOMPRESSED_LIMIT),
        Some("deflate") if wire.first() == Some(&ZLIB_MAGIC) => {
            inflated(ZlibDecoder::new(&wire[..]), DECOMPRESSED_LIMIT)
        }
        Some("deflate") => inflated(DeflateDecoder::new(&wire[..]), DECOMPRESSED_LIMIT),
        _ => Ok(wire.clone()),
    }
}

/// The events in a body of either protocol, accepted or not.
pub fn events(body: &[u8]) -> Vec<Value> {
    let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
    let batch = body.get_mut("batch").map(Value::take);
    match batch.unwrap_or(body) {
        Value::Array(events) => events,
        event @ Value::Object(_) => vec![event],
        _ => Vec::new(),
    }
}

fn inflated(decoder: impl Read, limit: usize) -> Result<Bytes, Undecodable> {
    let mut body = Vec::new();
    let enough = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = decoder.take(enough).read_to_end(&mut body);
    read.map_err(|error| Undecodable::Broken(error.to_string()))?;
    if body.len() > limit { Err(Undecodable::TooLarge) } else { Ok(body.into()) }
}
