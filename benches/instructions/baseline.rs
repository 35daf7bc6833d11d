//! What calls cost when somebody last looked.

use std::fs;
use std::process::Command;

use crate::valgrind;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/baseline.txt");
/// A call may cost so much more than it did.
const ALLOWED: f64 = 1.10;
/// One that costs less than this share of what it did deserves a new baseline.
const BETTER: f64 = 0.90;

pub(crate) fn save(counted: &[(&str, u64)]) {
    let mut text = format!("# Instructions of one call; {}.\n", tools());
    for (name, instructions) in counted {
        text += &format!("{instructions:>8} {name}\n");
    }
    fs::write(FILE, text).expect("a file that can be written");
    println!("saved to {FILE}");
}

/// Tells of each that changed much; false if one got worse.
pub(crate) fn holds(counted: &[(&str, u64)]) -> bool {
    let text = fs::read_to_string(FILE).expect("the baseline");
    let mut good = true;
    for (name, now) in counted {
        let Some(before) = find(&text, name) else {
            eprintln!("NOT MET: {name:?} has no baseline");
            good = false;
            continue;
        };
        let change = *now as f64 / before as f64;
        let told =
            format!("{name:?} takes {now} instructions, {:+.1} % over {before}", 100.0 * (change - 1.0));
        if change > ALLOWED {
            eprintln!("NOT MET: {told}");
            good = false;
        } else if change < BETTER {
            println!("better: {told}");
        }
    }
    if good {
        println!("none takes over {:.0} % more than its baseline", 100.0 * (ALLOWED - 1.0));
    } else {
        eprintln!("the baseline:{}", text.lines().next().unwrap_or_default().trim_start_matches('#'));
        eprintln!("now: {}", tools());
        eprintln!("to make what is now the baseline: cargo bench --bench instructions -- --save");
    }
    good
}

fn find(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (instructions, of) = line.trim_start().split_once(' ')?;
        (of == name).then(|| instructions.parse().ok()).flatten()
    })
}

/// Another compiler makes other instructions.
fn tools() -> String {
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_or_else(|_| Vec::new(), |output| output.stdout);
    format!("{}, {}", String::from_utf8_lossy(&rustc).trim(), valgrind::version())
}
