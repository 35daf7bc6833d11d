//! What fuzz tests have in common. They stand in a `fuzz.rs` beside what they try: whatever reads bytes that somebody
//! else wrote. `cargo test` replays their corpus (`__fuzz__`, beside them) and a bounded number of random inputs;
//! `cargo bolero test` goes on from there, guided by coverage. CONTRIBUTING.md tells how.

/// Random inputs of one target in `cargo test`.
pub(crate) const ROUNDS: usize = 300;

/// Is in inputs, and never in what people are told. Lower case, since the names of hosts are.
pub(crate) const SECRET: &str = "phc_k3yk3yk3y";

/// An input of several fields: what stands between zero bytes. What is missing is empty; the last one is the rest.
pub(crate) fn fields<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut fields = input.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| fields.next().unwrap_or_default())
}

/// The number that a field is. Any other text is 0.
pub(crate) fn number(field: &[u8]) -> u64 {
    std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// An error as a log may show it: with all that caused it, and by `Debug`.
pub(crate) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = crate::error::causes(error).map(|cause| format!("{cause} "));
    causes.chain([format!("{error:?}")]).collect()
}
